-- +goose Up

-- The space itself: who it is, and its data key wrapped by a server's master key.
CREATE TABLE space_meta (
  id             INTEGER PRIMARY KEY CONSTRAINT space_meta_single CHECK (id = 1),
  ulid           TEXT NOT NULL,
  name           TEXT NOT NULL,
  incarnation    TEXT NOT NULL,               -- ULID of this life of the space; new after a restore
  master_key_id  TEXT NOT NULL,
  wrapped_key    BLOB NOT NULL,
  identity       BLOB,                        -- signing and sealing keys, sealed with the space's key
  card           BLOB,                        -- the newest card of this space, as signed
  card_number    INTEGER NOT NULL DEFAULT 0,
  created_at     TEXT NOT NULL
) STRICT;

-- Documents: what people edit and read as one whole.
CREATE TABLE snapshot (
  hash   TEXT PRIMARY KEY,                    -- lower-case hex SHA-256 of body
  kind   TEXT NOT NULL,
  format INTEGER NOT NULL,
  body   BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE document (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  kind       TEXT NOT NULL,
  version    INTEGER NOT NULL,                -- the optimistic lock; 0 is the empty document
  hash       TEXT NOT NULL CONSTRAINT document_snapshot REFERENCES snapshot (hash),
  updated_at TEXT NOT NULL,
  updated_by TEXT NOT NULL
) STRICT;

CREATE TABLE document_revision (
  document_id INTEGER NOT NULL CONSTRAINT document_revision_document REFERENCES document (id) ON DELETE CASCADE,
  version     INTEGER NOT NULL,
  hash        TEXT NOT NULL CONSTRAINT document_revision_snapshot REFERENCES snapshot (hash),
  saved_at    TEXT NOT NULL,
  saved_by    TEXT NOT NULL,
  PRIMARY KEY (document_id, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE secret (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  sealed     BLOB NOT NULL,
  created_at TEXT NOT NULL
) STRICT;

CREATE TABLE environment (
  id                            INTEGER PRIMARY KEY AUTOINCREMENT,
  ulid                          TEXT NOT NULL,
  name                          TEXT NOT NULL COLLATE NOCASE CONSTRAINT environment_name UNIQUE,
  slug                          TEXT NOT NULL COLLATE NOCASE CONSTRAINT environment_slug UNIQUE,
  description                   TEXT NOT NULL DEFAULT '',
  sort_order                    INTEGER NOT NULL DEFAULT 0,
  use_guided_failure            INTEGER NOT NULL DEFAULT 0,
  allow_dynamic_infrastructure  INTEGER NOT NULL DEFAULT 0,
  created_at                    TEXT NOT NULL,
  updated_at                    TEXT NOT NULL,
  updated_by                    TEXT NOT NULL
) STRICT;
CREATE INDEX environment_sort ON environment (sort_order, id);

CREATE TABLE lifecycle (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  name        TEXT NOT NULL COLLATE NOCASE CONSTRAINT lifecycle_name UNIQUE,
  slug        TEXT NOT NULL COLLATE NOCASE CONSTRAINT lifecycle_slug UNIQUE,
  description TEXT NOT NULL DEFAULT '',
  is_default  INTEGER NOT NULL DEFAULT 0,
  document_id INTEGER NOT NULL CONSTRAINT lifecycle_document REFERENCES document (id),
  created_at  TEXT NOT NULL,
  updated_at  TEXT NOT NULL,
  updated_by  TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX lifecycle_default ON lifecycle (is_default) WHERE is_default = 1;

CREATE TABLE project_group (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  name        TEXT NOT NULL COLLATE NOCASE CONSTRAINT project_group_name UNIQUE,
  slug        TEXT NOT NULL COLLATE NOCASE CONSTRAINT project_group_slug UNIQUE,
  description TEXT NOT NULL DEFAULT '',
  is_default  INTEGER NOT NULL DEFAULT 0,
  created_at  TEXT NOT NULL,
  updated_at  TEXT NOT NULL,
  updated_by  TEXT NOT NULL
) STRICT;

-- Links to other spaces come before projects: a remote project belongs to one.
CREATE TABLE zone_link (
  id                INTEGER PRIMARY KEY AUTOINCREMENT,
  ulid              TEXT NOT NULL CONSTRAINT zone_link_ulid UNIQUE,
  local_name        TEXT NOT NULL COLLATE NOCASE CONSTRAINT zone_link_name UNIQUE,
  slug              TEXT NOT NULL COLLATE NOCASE CONSTRAINT zone_link_slug UNIQUE,
  peer_space        TEXT NOT NULL CONSTRAINT zone_link_peer UNIQUE, -- ULID of the peer's space
  peer_identity     TEXT NOT NULL CONSTRAINT zone_link_identity UNIQUE, -- hex, what the words spell
  peer_name         TEXT NOT NULL,           -- what the peer calls itself; shown, never a key
  card              BLOB NOT NULL,           -- the newest card, as received
  card_number       INTEGER NOT NULL,
  mode              TEXT NOT NULL,           -- we-dial, they-dial, both, by-hand
  address           TEXT NOT NULL DEFAULT '',
  server_pin        TEXT NOT NULL DEFAULT '', -- of the peer's server, lower-case hex
  send_bundles      INTEGER NOT NULL DEFAULT 0,
  accept_bundles    INTEGER NOT NULL DEFAULT 0,
  send_receipts     TEXT NOT NULL DEFAULT 'none', -- none, state, summary
  accept_receipts   INTEGER NOT NULL DEFAULT 0,
  state             TEXT NOT NULL,           -- proposed, awaiting confirmation, active, paused, suspended by peer, revoked, broken
  reason            TEXT NOT NULL DEFAULT '',
  confirmed_how     TEXT NOT NULL DEFAULT '',
  next_seq          INTEGER NOT NULL DEFAULT 1, -- of our next message to the peer
  last_digest       TEXT NOT NULL DEFAULT '',   -- of our last message
  their_incarnation TEXT NOT NULL DEFAULT '',
  their_upto        INTEGER NOT NULL DEFAULT 0, -- every message of theirs up to here is applied
  acked_upto        INTEGER NOT NULL DEFAULT 0, -- every message of ours up to here is acknowledged
  last_contact_at   TEXT,
  last_error        TEXT NOT NULL DEFAULT '',
  attempts          INTEGER NOT NULL DEFAULT 0,
  next_at           TEXT,                    -- when the link is tried again
  created_at        TEXT NOT NULL,
  updated_at        TEXT NOT NULL,
  updated_by        TEXT NOT NULL
) STRICT;
CREATE INDEX zone_link_pin ON zone_link (server_pin);

CREATE TABLE project (
  id                   INTEGER PRIMARY KEY AUTOINCREMENT,
  ulid                 TEXT NOT NULL CONSTRAINT project_ulid UNIQUE,
  name                 TEXT NOT NULL COLLATE NOCASE CONSTRAINT project_name UNIQUE,
  slug                 TEXT NOT NULL COLLATE NOCASE CONSTRAINT project_slug UNIQUE,
  description          TEXT NOT NULL DEFAULT '',
  project_group_id     INTEGER NOT NULL CONSTRAINT project_group_of_project REFERENCES project_group (id),
  lifecycle_id         INTEGER NOT NULL CONSTRAINT project_lifecycle REFERENCES lifecycle (id),
  is_disabled          INTEGER NOT NULL DEFAULT 0,
  process_document_id  INTEGER NOT NULL CONSTRAINT project_process REFERENCES document (id),
  variable_document_id INTEGER NOT NULL CONSTRAINT project_variables REFERENCES document (id),
  settings             TEXT NOT NULL,        -- JSON: versioning, templates, connectivity and the like
  link_id              INTEGER CONSTRAINT project_link REFERENCES zone_link (id), -- set on a remote project
  remote_ulid          TEXT,                 -- the project's ULID at its owner
  remote_name          TEXT,
  created_at           TEXT NOT NULL,
  updated_at           TEXT NOT NULL,
  updated_by           TEXT NOT NULL,
  CONSTRAINT project_remote UNIQUE (link_id, remote_ulid)
) STRICT;
CREATE INDEX project_by_group ON project (project_group_id, name);
CREATE INDEX project_by_lifecycle ON project (lifecycle_id);

CREATE TABLE channel (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  project_id   INTEGER NOT NULL CONSTRAINT channel_project REFERENCES project (id) ON DELETE CASCADE,
  name         TEXT NOT NULL COLLATE NOCASE,
  slug         TEXT NOT NULL COLLATE NOCASE,
  description  TEXT NOT NULL DEFAULT '',
  lifecycle_id INTEGER CONSTRAINT channel_lifecycle REFERENCES lifecycle (id),
  is_default   INTEGER NOT NULL DEFAULT 0,
  rules        TEXT NOT NULL DEFAULT '[]',
  created_at   TEXT NOT NULL,
  updated_at   TEXT NOT NULL,
  updated_by   TEXT NOT NULL,
  CONSTRAINT channel_name UNIQUE (project_id, name),
  CONSTRAINT channel_slug UNIQUE (project_id, slug)
) STRICT;
CREATE UNIQUE INDEX channel_default ON channel (project_id) WHERE is_default = 1;
CREATE INDEX channel_by_lifecycle ON channel (lifecycle_id) WHERE lifecycle_id IS NOT NULL;

CREATE TABLE target (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  name           TEXT NOT NULL COLLATE NOCASE CONSTRAINT target_name UNIQUE,
  slug           TEXT NOT NULL COLLATE NOCASE CONSTRAINT target_slug UNIQUE,
  style          TEXT NOT NULL,              -- TentaclePassive (listening), TentacleActive (polling)
  uri            TEXT NOT NULL DEFAULT '',
  thumbprint     TEXT NOT NULL DEFAULT '',   -- pin of the agent's key, lower-case hex SHA-256
  is_disabled    INTEGER NOT NULL DEFAULT 0,
  health         TEXT NOT NULL DEFAULT 'Unknown',
  health_summary TEXT NOT NULL DEFAULT '',
  health_at      TEXT,
  agent_version  TEXT NOT NULL DEFAULT '',
  operating_system TEXT NOT NULL DEFAULT '',
  endpoint       TEXT NOT NULL DEFAULT '{}', -- JSON, what the API sent beyond the columns
  created_at     TEXT NOT NULL,
  updated_at     TEXT NOT NULL,
  updated_by     TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX target_polling_thumbprint ON target (thumbprint) WHERE style = 'TentacleActive';

CREATE TABLE target_environment (
  target_id      INTEGER NOT NULL CONSTRAINT target_environment_target REFERENCES target (id) ON DELETE CASCADE,
  environment_id INTEGER NOT NULL CONSTRAINT target_environment_environment REFERENCES environment (id),
  PRIMARY KEY (target_id, environment_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX target_by_environment ON target_environment (environment_id, target_id);

CREATE TABLE target_tag (
  target_id INTEGER NOT NULL CONSTRAINT target_tag_target REFERENCES target (id) ON DELETE CASCADE,
  tag       TEXT NOT NULL COLLATE NOCASE,
  PRIMARY KEY (target_id, tag)
) STRICT, WITHOUT ROWID;
CREATE INDEX target_by_tag ON target_tag (tag, target_id);

-- A token with which an agent registers itself; only the hash of its secret is kept.
CREATE TABLE target_registration (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  secret_hash  TEXT NOT NULL CONSTRAINT target_registration_secret UNIQUE,
  environments TEXT NOT NULL,                -- JSON array of API ids
  tags         TEXT NOT NULL,                -- JSON array
  uses_left    INTEGER NOT NULL,
  expires_at   TEXT NOT NULL,
  created_at   TEXT NOT NULL,
  created_by   TEXT NOT NULL
) STRICT;

-- What a document mentions, as real foreign keys: a used thing cannot be deleted unseen.
CREATE TABLE document_ref (
  document_id    INTEGER NOT NULL CONSTRAINT document_ref_document REFERENCES document (id) ON DELETE CASCADE,
  path           TEXT NOT NULL,
  environment_id INTEGER CONSTRAINT document_ref_environment REFERENCES environment (id),
  target_id      INTEGER CONSTRAINT document_ref_target REFERENCES target (id),
  channel_id     INTEGER CONSTRAINT document_ref_channel REFERENCES channel (id),
  link_id        INTEGER CONSTRAINT document_ref_link REFERENCES zone_link (id)
) STRICT;
CREATE INDEX document_ref_by_document ON document_ref (document_id);
CREATE INDEX document_ref_by_environment ON document_ref (environment_id, document_id, path) WHERE environment_id IS NOT NULL;
CREATE INDEX document_ref_by_target ON document_ref (target_id, document_id, path) WHERE target_id IS NOT NULL;
CREATE INDEX document_ref_by_channel ON document_ref (channel_id, document_id, path) WHERE channel_id IS NOT NULL;
CREATE INDEX document_ref_by_link ON document_ref (link_id, document_id, path) WHERE link_id IS NOT NULL;

-- Packages: files by digest, and the names under which the built-in feed offers them.
CREATE TABLE package_blob (
  digest     TEXT PRIMARY KEY,               -- lower-case hex SHA-256
  size       INTEGER NOT NULL,               -- bytes
  created_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE package (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  package_id   TEXT NOT NULL COLLATE NOCASE,
  version      TEXT NOT NULL,
  version_sort TEXT NOT NULL,
  extension    TEXT NOT NULL,                -- with its dot, as ".zip"
  digest       TEXT NOT NULL CONSTRAINT package_blob_of_package REFERENCES package_blob (digest),
  size         INTEGER NOT NULL,
  published_at TEXT NOT NULL,
  published_by TEXT NOT NULL,
  CONSTRAINT package_version UNIQUE (package_id, version_sort)
) STRICT;
CREATE INDEX package_by_digest ON package (digest);

CREATE TABLE release (
  id                 INTEGER PRIMARY KEY AUTOINCREMENT,
  ulid               TEXT NOT NULL CONSTRAINT release_ulid UNIQUE,
  project_id         INTEGER NOT NULL CONSTRAINT release_project REFERENCES project (id) ON DELETE CASCADE,
  channel_id         INTEGER NOT NULL CONSTRAINT release_channel REFERENCES channel (id),
  version            TEXT NOT NULL,
  version_sort       TEXT NOT NULL,
  notes              TEXT NOT NULL DEFAULT '',
  process_hash       TEXT NOT NULL CONSTRAINT release_process REFERENCES snapshot (hash),
  variable_hash      TEXT NOT NULL CONSTRAINT release_variables REFERENCES snapshot (hash),
  templates          TEXT NOT NULL DEFAULT '[]', -- JSON: variable templates as frozen
  core_digest        TEXT NOT NULL DEFAULT '',   -- of the promoted form; set at the first promotion or on acceptance
  ignore_rules       INTEGER NOT NULL DEFAULT 0,
  assembled_at       TEXT NOT NULL,
  assembled_by       TEXT NOT NULL,
  CONSTRAINT release_version UNIQUE (project_id, version_sort)
) STRICT;
CREATE INDEX release_by_project ON release (project_id, id);
CREATE INDEX release_by_channel ON release (channel_id, version_sort);

CREATE TABLE release_package (
  release_id     INTEGER NOT NULL CONSTRAINT release_package_release REFERENCES release (id) ON DELETE CASCADE,
  action_name    TEXT NOT NULL,
  reference_name TEXT NOT NULL,
  package_id     TEXT NOT NULL,
  version        TEXT NOT NULL,
  extension      TEXT NOT NULL,
  digest         TEXT NOT NULL,
  size           INTEGER NOT NULL,
  PRIMARY KEY (release_id, action_name, reference_name)
) STRICT, WITHOUT ROWID;
CREATE INDEX release_package_by_digest ON release_package (digest);

-- Work of the server.
CREATE TABLE task (
  id                        INTEGER PRIMARY KEY AUTOINCREMENT,
  ulid                      TEXT NOT NULL,
  kind                      TEXT NOT NULL,   -- Deploy, Health, ...
  description               TEXT NOT NULL,
  state                     TEXT NOT NULL,   -- Queued Executing Cancelling Success Failed Canceled TimedOut
  project_id                INTEGER CONSTRAINT task_project REFERENCES project (id) ON DELETE CASCADE,
  environment_id            INTEGER CONSTRAINT task_environment REFERENCES environment (id),
  target_id                 INTEGER CONSTRAINT task_target REFERENCES target (id) ON DELETE SET NULL,
  concurrency_tag           TEXT NOT NULL DEFAULT '',
  arguments                 TEXT NOT NULL DEFAULT '{}',
  error_message             TEXT NOT NULL DEFAULT '',
  has_warnings_or_errors    INTEGER NOT NULL DEFAULT 0,
  has_pending_interruptions INTEGER NOT NULL DEFAULT 0,
  queue_at                  TEXT NOT NULL,   -- not before
  queue_expires_at          TEXT,
  started_at                TEXT,
  completed_at              TEXT,
  updated_at                TEXT NOT NULL,
  created_at                TEXT NOT NULL,
  created_by                TEXT NOT NULL,
  canceled_by               TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX task_unfinished ON task (state, id) WHERE state IN ('Queued', 'Executing', 'Cancelling');
CREATE INDEX task_by_project ON task (project_id, id);
CREATE INDEX task_by_environment ON task (environment_id, id);
CREATE INDEX task_by_target ON task (target_id, id) WHERE target_id IS NOT NULL;

CREATE TABLE deployment (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  ulid           TEXT NOT NULL CONSTRAINT deployment_ulid UNIQUE,
  project_id     INTEGER NOT NULL CONSTRAINT deployment_project REFERENCES project (id) ON DELETE CASCADE,
  release_id     INTEGER NOT NULL CONSTRAINT deployment_release REFERENCES release (id) ON DELETE CASCADE,
  environment_id INTEGER NOT NULL CONSTRAINT deployment_environment REFERENCES environment (id),
  channel_id     INTEGER NOT NULL CONSTRAINT deployment_channel REFERENCES channel (id),
  task_id        INTEGER NOT NULL CONSTRAINT deployment_task REFERENCES task (id),
  attempt        INTEGER NOT NULL,           -- counts deployments of this release to this environment, from 1
  comments       TEXT NOT NULL DEFAULT '',
  options        TEXT NOT NULL DEFAULT '{}', -- JSON: skipped actions, machines, form values
  plan           TEXT,                       -- JSON of deploy.Plan, written before anything runs
  state          BLOB,                       -- sealed JSON of deploy.State (outputs may be sensitive)
  created_at     TEXT NOT NULL,
  created_by     TEXT NOT NULL,
  created_by_id  TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX deployment_by_task ON deployment (task_id);
CREATE INDEX deployment_by_release ON deployment (release_id, environment_id, id);
CREATE INDEX deployment_by_project ON deployment (project_id, id);
CREATE INDEX deployment_by_environment ON deployment (environment_id, id);
CREATE INDEX deployment_by_channel ON deployment (channel_id);

-- What the dashboard reads: the newest deployment of each project in each environment, and the newest that succeeded.
CREATE TABLE current_deployment (
  project_id     INTEGER NOT NULL CONSTRAINT current_deployment_project REFERENCES project (id) ON DELETE CASCADE,
  environment_id INTEGER NOT NULL CONSTRAINT current_deployment_environment REFERENCES environment (id),
  deployment_id  INTEGER NOT NULL CONSTRAINT current_deployment_deployment REFERENCES deployment (id) ON DELETE CASCADE,
  release_id     INTEGER NOT NULL,
  task_id        INTEGER NOT NULL,
  version        TEXT NOT NULL,
  state          TEXT NOT NULL,
  has_warnings   INTEGER NOT NULL,
  has_pending    INTEGER NOT NULL,
  created_at     TEXT NOT NULL,
  completed_at   TEXT,
  succeeded_deployment_id INTEGER,
  succeeded_release_id    INTEGER,
  succeeded_version       TEXT,
  PRIMARY KEY (project_id, environment_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX current_deployment_by_deployment ON current_deployment (deployment_id);
CREATE INDEX current_deployment_by_environment ON current_deployment (environment_id);

-- One piece of work on one target. Every transition is kept in execution_state.
CREATE TABLE execution (
  id         TEXT PRIMARY KEY,               -- ULID; starting it twice is starting it once
  task_id    INTEGER NOT NULL CONSTRAINT execution_task REFERENCES task (id) ON DELETE CASCADE,
  step_name  TEXT NOT NULL,
  action_id  TEXT NOT NULL,
  target_id  INTEGER CONSTRAINT execution_target REFERENCES target (id) ON DELETE SET NULL,
  target_name TEXT NOT NULL,
  attempt    INTEGER NOT NULL,
  state      TEXT NOT NULL,                  -- planned accepted running succeeded failed canceled unknown
  message    TEXT NOT NULL DEFAULT '',
  started_at TEXT,
  ended_at   TEXT,
  updated_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX execution_by_task ON execution (task_id);
CREATE INDEX execution_by_target ON execution (target_id) WHERE target_id IS NOT NULL;

CREATE TABLE execution_state (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  execution_id TEXT NOT NULL,
  state        TEXT NOT NULL,
  message      TEXT NOT NULL,
  at           TEXT NOT NULL
) STRICT;
CREATE INDEX execution_state_by_execution ON execution_state (execution_id);

CREATE TABLE interruption (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  task_id     INTEGER NOT NULL CONSTRAINT interruption_task REFERENCES task (id) ON DELETE CASCADE,
  kind        TEXT NOT NULL,
  reference   TEXT NOT NULL,                 -- what it is about, as the plan names it
  title       TEXT NOT NULL,
  message     TEXT NOT NULL,
  choices     TEXT NOT NULL,                 -- JSON array of {value, label}
  answer      TEXT NOT NULL DEFAULT '',
  notes       TEXT NOT NULL DEFAULT '',
  created_at  TEXT NOT NULL,
  answered_at TEXT,
  answered_by TEXT NOT NULL DEFAULT '',
  CONSTRAINT interruption_once UNIQUE (task_id, reference)
) STRICT;
CREATE INDEX interruption_pending ON interruption (task_id) WHERE answered_at IS NULL;

-- +goose StatementBegin
CREATE TABLE event (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  at             TEXT NOT NULL,
  actor_id       TEXT NOT NULL,
  actor_name     TEXT NOT NULL,
  via            TEXT NOT NULL,              -- session, key, link, server, command
  address        TEXT NOT NULL,
  category       TEXT NOT NULL,              -- Created, Modified, Deleted, DeploymentQueued, ...
  entity         TEXT NOT NULL,
  entity_id      TEXT NOT NULL,
  project_id     INTEGER,
  environment_id INTEGER,
  reference      TEXT NOT NULL DEFAULT '',   -- an id shared with another zone, as a promotion's ULID
  message        TEXT NOT NULL,
  detail         TEXT NOT NULL DEFAULT ''    -- JSON: before and after, secrets only as "changed"
) STRICT;
-- +goose StatementEnd
CREATE INDEX event_by_entity ON event (entity_id, id);
CREATE INDEX event_by_project ON event (project_id, id) WHERE project_id IS NOT NULL;
CREATE INDEX event_by_category ON event (category, id);
CREATE INDEX event_by_reference ON event (reference, id) WHERE reference <> '';

-- Ledgers only grow. Retention, when it comes, will hold the one key.
-- +goose StatementBegin
CREATE TRIGGER event_no_update BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'event is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER event_no_delete BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'event is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER execution_state_no_update BEFORE UPDATE ON execution_state BEGIN SELECT RAISE(ABORT, 'execution_state is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER execution_state_no_delete BEFORE DELETE ON execution_state BEGIN SELECT RAISE(ABORT, 'execution_state is append-only'); END;
-- +goose StatementEnd

-- Zones: one-time invitations, messages out and in, what was promoted and what came.
CREATE TABLE zone_invite (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  secret       BLOB NOT NULL,                -- sealed: the proof is an HMAC with it
  secret_id    TEXT NOT NULL CONSTRAINT zone_invite_secret UNIQUE,
  local_name   TEXT NOT NULL,
  role         TEXT NOT NULL,                -- what the link is for here: source, target, both
  confirm      INTEGER NOT NULL,             -- a person confirms the words afterwards
  expires_at   TEXT NOT NULL,
  used_at      TEXT,
  used_by      TEXT NOT NULL DEFAULT '',
  created_at   TEXT NOT NULL,
  created_by   TEXT NOT NULL
) STRICT;

CREATE TABLE promotion (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  ulid         TEXT NOT NULL CONSTRAINT promotion_ulid UNIQUE,
  link_id      INTEGER NOT NULL CONSTRAINT promotion_link REFERENCES zone_link (id),
  project_id   INTEGER NOT NULL CONSTRAINT promotion_project REFERENCES project (id) ON DELETE CASCADE,
  release_id   INTEGER NOT NULL CONSTRAINT promotion_release REFERENCES release (id) ON DELETE CASCADE,
  release_ulid TEXT NOT NULL,
  version      TEXT NOT NULL,
  core_digest  TEXT NOT NULL DEFAULT '',
  digest       TEXT NOT NULL DEFAULT '',     -- of the signed envelope, once made
  prepared     BLOB,                         -- sealed parts and statement, made once, before the place in the sequence is taken
  seq          INTEGER,
  state        TEXT NOT NULL,                -- see docs/formats/link.md
  reason       TEXT NOT NULL DEFAULT '',
  by_hand      INTEGER NOT NULL DEFAULT 0,
  bytes_total  INTEGER NOT NULL DEFAULT 0,
  bytes_sent   INTEGER NOT NULL DEFAULT 0,
  created_at   TEXT NOT NULL,
  created_by   TEXT NOT NULL,
  updated_at   TEXT NOT NULL
) STRICT;
CREATE INDEX promotion_by_release ON promotion (release_id, id);
CREATE INDEX promotion_by_link ON promotion (link_id, id);
CREATE INDEX promotion_by_project ON promotion (project_id, id);
CREATE INDEX promotion_by_release_ulid ON promotion (release_ulid);

CREATE TABLE zone_outbox (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  link_id      INTEGER NOT NULL CONSTRAINT zone_outbox_link REFERENCES zone_link (id),
  incarnation  TEXT NOT NULL,
  seq          INTEGER NOT NULL,
  digest       TEXT NOT NULL CONSTRAINT zone_outbox_digest UNIQUE,
  kind         TEXT NOT NULL,                -- bundle, receipt
  message      BLOB NOT NULL,                -- exactly the bytes that are sent
  promotion_id INTEGER CONSTRAINT zone_outbox_promotion REFERENCES promotion (id) ON DELETE SET NULL,
  release_ulid TEXT NOT NULL DEFAULT '',
  state        TEXT NOT NULL,                -- queued, held, acked, refused, canceled
  attempts     INTEGER NOT NULL DEFAULT 0,
  next_at      TEXT NOT NULL,
  last_error   TEXT NOT NULL DEFAULT '',
  handed_over_at TEXT,                       -- last time it left as a file
  acked_at     TEXT,
  created_at   TEXT NOT NULL,
  CONSTRAINT zone_outbox_seq UNIQUE (link_id, incarnation, seq)
) STRICT;
CREATE INDEX zone_outbox_open ON zone_outbox (link_id, seq) WHERE state IN ('queued', 'held');
CREATE INDEX zone_outbox_by_promotion ON zone_outbox (promotion_id) WHERE promotion_id IS NOT NULL;

CREATE TABLE zone_inbox (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  link_id     INTEGER NOT NULL CONSTRAINT zone_inbox_link REFERENCES zone_link (id),
  incarnation TEXT NOT NULL,
  seq         INTEGER NOT NULL,
  digest      TEXT NOT NULL CONSTRAINT zone_inbox_digest UNIQUE,
  kind        TEXT NOT NULL,
  message     BLOB NOT NULL,
  via         TEXT NOT NULL,                 -- link, file
  refusal     TEXT NOT NULL DEFAULT '',
  received_at TEXT NOT NULL,
  CONSTRAINT zone_inbox_seq UNIQUE (link_id, incarnation, seq)
) STRICT;

-- A release that came in a bundle: reviewed here, then accepted or rejected.
CREATE TABLE inbound (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  link_id      INTEGER NOT NULL CONSTRAINT inbound_link REFERENCES zone_link (id),
  inbox_id     INTEGER NOT NULL CONSTRAINT inbound_message REFERENCES zone_inbox (id),
  release_ulid TEXT NOT NULL,
  project_ulid TEXT NOT NULL,
  project_name TEXT NOT NULL,
  version      TEXT NOT NULL,
  core_digest  TEXT NOT NULL,
  promotion_ulid TEXT NOT NULL DEFAULT '',
  state        TEXT NOT NULL,                -- incomplete, verified, accepted, rejected, superseded
  reason       TEXT NOT NULL DEFAULT '',
  project_id   INTEGER CONSTRAINT inbound_project REFERENCES project (id) ON DELETE SET NULL,
  release_id   INTEGER CONSTRAINT inbound_release REFERENCES release (id) ON DELETE SET NULL,
  received_at  TEXT NOT NULL,
  via          TEXT NOT NULL,
  decided_at   TEXT,
  decided_by   TEXT NOT NULL DEFAULT '',
  CONSTRAINT inbound_once UNIQUE (link_id, release_ulid, core_digest)
) STRICT;
CREATE INDEX inbound_by_state ON inbound (state, id);
CREATE INDEX inbound_by_project ON inbound (project_id, id) WHERE project_id IS NOT NULL;
CREATE INDEX inbound_by_release ON inbound (release_id) WHERE release_id IS NOT NULL;
CREATE INDEX inbound_by_ulid ON inbound (release_ulid);

CREATE TABLE zone_blob_want (
  link_id    INTEGER NOT NULL CONSTRAINT zone_blob_want_link REFERENCES zone_link (id),
  digest     TEXT NOT NULL,
  size       INTEGER NOT NULL,
  inbound_id INTEGER NOT NULL CONSTRAINT zone_blob_want_inbound REFERENCES inbound (id) ON DELETE CASCADE,
  state      TEXT NOT NULL,                  -- missing, here
  failures   INTEGER NOT NULL DEFAULT 0,     -- times it arrived with other bytes
  PRIMARY KEY (inbound_id, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX zone_blob_want_by_digest ON zone_blob_want (digest);
CREATE INDEX zone_blob_want_by_link ON zone_blob_want (link_id, state);

-- What the peer is known to have, by its own receipts: a basis for recipes.
CREATE TABLE zone_blob_known (
  link_id INTEGER NOT NULL CONSTRAINT zone_blob_known_link REFERENCES zone_link (id),
  digest  TEXT NOT NULL,
  PRIMARY KEY (link_id, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE receipt (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  link_id         INTEGER NOT NULL CONSTRAINT receipt_link REFERENCES zone_link (id),
  inbox_id        INTEGER NOT NULL CONSTRAINT receipt_message REFERENCES zone_inbox (id),
  release_ulid    TEXT NOT NULL,
  core_digest     TEXT NOT NULL,
  kind            TEXT NOT NULL,
  environment_ref TEXT NOT NULL DEFAULT '',
  environment     TEXT NOT NULL DEFAULT '',  -- as the peer shows it
  deployment_ulid TEXT NOT NULL DEFAULT '',
  attempt         INTEGER NOT NULL DEFAULT 0,
  seq             INTEGER NOT NULL,
  issued_at       TEXT NOT NULL,
  received_at     TEXT NOT NULL,
  via             TEXT NOT NULL,
  body            TEXT NOT NULL              -- JSON of the predicate
) STRICT;
CREATE INDEX receipt_by_release ON receipt (release_ulid, link_id, seq);
CREATE INDEX receipt_by_link ON receipt (link_id, seq);
-- +goose StatementBegin
CREATE TRIGGER receipt_no_update BEFORE UPDATE ON receipt BEGIN SELECT RAISE(ABORT, 'receipt is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER receipt_no_delete BEFORE DELETE ON receipt BEGIN SELECT RAISE(ABORT, 'receipt is append-only'); END;
-- +goose StatementEnd

-- Remote environments as receipts name them, and where each project stands there.
CREATE TABLE remote_environment (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  link_id    INTEGER NOT NULL CONSTRAINT remote_environment_link REFERENCES zone_link (id),
  ref        TEXT NOT NULL,
  name       TEXT NOT NULL,
  sort_order INTEGER NOT NULL,
  CONSTRAINT remote_environment_ref UNIQUE (link_id, ref)
) STRICT;

CREATE TABLE remote_current (
  project_id            INTEGER NOT NULL CONSTRAINT remote_current_project REFERENCES project (id) ON DELETE CASCADE,
  remote_environment_id INTEGER NOT NULL CONSTRAINT remote_current_environment REFERENCES remote_environment (id) ON DELETE CASCADE,
  release_id            INTEGER NOT NULL CONSTRAINT remote_current_release REFERENCES release (id) ON DELETE CASCADE,
  version               TEXT NOT NULL,
  state                 TEXT NOT NULL,       -- Queued, Executing, Success, Failed, Canceled
  at                    TEXT NOT NULL,       -- by the peer's clock
  as_of                 TEXT NOT NULL,       -- when we learnt it, by ours
  via                   TEXT NOT NULL,
  seq                   INTEGER NOT NULL,
  PRIMARY KEY (project_id, remote_environment_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX remote_current_by_release ON remote_current (release_id);
CREATE INDEX remote_current_by_environment ON remote_current (remote_environment_id);

CREATE TABLE zone_binding (
  link_id     INTEGER NOT NULL CONSTRAINT zone_binding_link REFERENCES zone_link (id) ON DELETE CASCADE,
  kind        TEXT NOT NULL,                 -- environment, channel
  remote_ulid TEXT NOT NULL,
  remote_name TEXT NOT NULL,
  local_id    TEXT NOT NULL,
  PRIMARY KEY (link_id, kind, remote_ulid)
) STRICT, WITHOUT ROWID;

-- Cursors of readers of the event ledger (receipts, triggers): late, never lost.
CREATE TABLE cursor (
  name     TEXT PRIMARY KEY,
  position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
