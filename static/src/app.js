// The one script. Everything here is comfort: each page works without it.
import htmx from './vendor/htmx.js';
import { Idiomorph } from './vendor/idiomorph.js';

htmx.config.includeIndicatorStyles = false; // the content security policy allows no inline style
htmx.config.allowEval = false;
htmx.config.allowScriptTags = false;
htmx.config.globalViewTransitions = true;
htmx.config.scrollIntoViewOnBoost = false;
htmx.config.responseHandling = [{ code: '204', swap: false }, { code: '...', swap: true }]; // 4xx pages carry the form again
htmx.defineExtension('morph', {
  isInlineSwap: (s) => s.startsWith('morph'),
  handleSwap: (style, target, fragment) => {
    if (!style.startsWith('morph')) return false;
    const nodes = fragment.nodeType === Node.DOCUMENT_FRAGMENT_NODE ? fragment.children : fragment;
    return Idiomorph.morph(target, nodes, { morphStyle: style.includes('outer') ? 'outerHTML' : 'innerHTML', ignoreActiveValue: true });
  },
});

const root = document.documentElement;
root.classList.add('js');
const $ = (q, n = document) => n.querySelector(q);
const $$ = (q, n = document) => [...n.querySelectorAll(q)];
const on = (ev, q, fn) => document.addEventListener(ev, (e) => { const t = e.target.closest?.(q); if (t) fn(e, t); });
const typing = (t) => t.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(t.tagName);

// Times: the server writes UTC; the visitor reads their own zone.
const rel = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
function age(s) {
  const a = Math.abs(s);
  for (const [unit, n] of [['year', 31536000], ['month', 2592000], ['day', 86400], ['hour', 3600], ['minute', 60]]) if (a >= n) return rel.format(Math.trunc(s / n), unit);
  return s > 0 ? 'in a moment' : 'just now';
}
function times() {
  for (const t of $$('time[data-relative]')) {
    const d = new Date(t.dateTime);
    if (isNaN(d)) continue;
    t.title = d.toLocaleString();
    const s = age((d - Date.now()) / 1000);
    if (t.textContent !== s) t.textContent = s;
  }
}
setInterval(times, 30000);

// Live parts: the stream says which topic changed, the part is fetched and morphed in place.
let stream, lostAt, streamKey, streamBase, logAt = ''; // logAt: behind the last line that came by the stream; empty: where the page was drawn
const touched = new WeakSet(); // what somebody opened or closed stays so; nothing closes under a reader's eyes
on('click', 'summary', (e, t) => touched.add(t.parentElement));
const keep = (name, node, kind) => !(name === 'open' && node.tagName === 'DETAILS' && (touched.has(node) || kind === 'remove'));
const busy = new Map(); // part being fetched → whether it changed meanwhile; not in the part itself, which the morph rewrites
async function refresh(el) {
  if (busy.has(el)) { busy.set(el, true); return; }
  busy.set(el, false);
  try {
    const r = await fetch(el.dataset.live, { headers: { 'HX-Request': 'true', 'X-Fragment': el.id } });
    if (!r.ok) return;
    const doc = new DOMParser().parseFromString(await r.text(), 'text/html');
    const fresh = (el.id && doc.getElementById(el.id)) || doc.body.firstElementChild;
    if (fresh) { Idiomorph.morph(el, fresh, { morphStyle: 'outerHTML', ignoreActiveValue: true, callbacks: { beforeAttributeUpdated: keep } }); htmx.process(document.body); times(); filter(); connect(el.matches('[data-log]') || $('[data-log]', el) !== null); }
  } catch { /* the stream's own notice says that the server is away */ } finally {
    const again = busy.get(el);
    busy.delete(el);
    if (again && el.isConnected) refresh(el);
  }
}
function changed(e) {
  const topics = (e?.data || '').split(/\s+/).filter(Boolean);
  for (const el of $$('[data-live]')) {
    const want = (el.dataset.topics || '').split(/\s+/).filter(Boolean);
    if (!want.length || !topics.length || want.some((t) => topics.includes(t))) refresh(el);
  }
}
function lost(since) {
  let n = $('.lost');
  if (!since) { n?.remove(); return; }
  if (!n) { n = document.createElement('div'); n.className = 'lost'; n.setAttribute('role', 'status'); document.body.append(n); }
  n.textContent = `Not live since ${since.toLocaleTimeString()}. Trying again.`;
}
// Lines of a running log come by the stream, from where the page was drawn on. Each belongs
// to a step and a target; of one that the page does not have yet, the log is drawn again.
function lines(data) {
  const nodes = new Map($$('[data-log-key]').map((d) => [d.dataset.logKey, d]));
  let unknown = false;
  for (const text of data.split('\n')) {
    let l;
    try { l = JSON.parse(text); } catch { continue; }
    const node = nodes.get(`${l.s || 0}/${l.g || ''}`);
    if (!node) { unknown = true; continue; }
    let ol = $(':scope > ol', node);
    if (!ol) { ol = document.createElement('ol'); $('summary', node).after(ol); }
    const li = document.createElement('li'), a = document.createElement('a'), t = document.createElement('time'), span = document.createElement('span');
    const n = ol.childElementCount + 1, level = (l.c || 'info').toLowerCase();
    li.id = `${node.id}-L${n}`; li.className = `l-${level}`; a.href = `#${li.id}`; a.textContent = n;
    t.dateTime = l.t; t.textContent = (l.t || '').slice(11, 19);
    if (level === 'error' || level === 'warning') { const vh = document.createElement('span'); vh.className = 'vh'; vh.textContent = `${level}: `; span.append(vh); }
    span.append(l.m || ''); li.append(a, ' ', t, ' ', span); ol.append(li);
  }
  if (unknown && $('#log')) refresh($('#log'));
}
// redrawn: the log on the page was drawn anew, as it was when the server drew it. Lines that
// came meanwhile are gone from the page, so the stream must begin there too.
function connect(redrawn) {
  const base = $('[data-stream]')?.dataset.stream, log = $('[data-log]')?.dataset.log;
  const key = base && `${base} ${log || ''}`;
  if (key === streamKey && stream && !(redrawn && logAt)) return;
  if (redrawn || key !== streamKey) logAt = '';
  let url = base;
  if (base && log) {
    const u = new URL(base, location.href);
    for (const [k, v] of new URLSearchParams(log)) u.searchParams.set(k, v);
    if (logAt) u.searchParams.set('from', logAt);
    url = u.pathname + u.search;
  }
  // On the same page the old stream goes on until the new one is open, so that no change is lost.
  const before = stream;
  if (base !== streamBase) before?.close();
  stream = null; streamKey = key; streamBase = base; lostAt = null; lost(null);
  if (!url) return;
  const s = stream = new EventSource(url);
  s.addEventListener('changed', changed);
  s.addEventListener('log', (e) => { if (s === stream) { lines(e.data); logAt = e.lastEventId; } });
  s.onopen = () => { before?.close(); if (lostAt) changed(); lostAt = null; lost(null); };
  s.onerror = () => {
    lostAt ||= new Date();
    setTimeout(() => { if (lostAt && s === stream) lost(lostAt); }, 2000);
    if (s.readyState === EventSource.CLOSED) setTimeout(() => { if (s === stream) { stream = null; connect(); } }, 5000);
  };
}
addEventListener('pagehide', () => { stream?.close(); stream = null; });

// Palette.
let timer, hits = [], at = 0;
function draw() {
  const ul = $('.palette ul');
  ul.replaceChildren(...hits.map((h, i) => {
    const li = document.createElement('li'), a = document.createElement('a'), k = document.createElement('span');
    a.href = h.url; a.textContent = h.name; a.id = `hit-${i}`; if (i === at) a.className = 'on';
    k.className = 'muted'; k.textContent = h.kind || ''; a.append(k); li.append(a); return li;
  }));
  $('.palette .on')?.scrollIntoView({ block: 'nearest' });
}
async function look(q) {
  const d = $('.palette');
  try {
    const r = await fetch(`${d.dataset.search}?q=${encodeURIComponent(q)}`, { headers: { Accept: 'application/json' } });
    if (!r.ok || q !== $('input', d).value) return;
    const j = await r.json();
    hits = Array.isArray(j) ? j : j.results || []; at = 0; draw();
  } catch { /* no answer, no hits */ }
}
function palette() { const d = $('.palette'); if (!d || d.open) return; d.showModal(); const i = $('input', d); i.value = ''; hits = []; draw(); i.focus(); look(''); }
on('input', '.palette input', (e, t) => { clearTimeout(timer); timer = setTimeout(() => look(t.value), 90); });
on('focusin', '.find input', (e, t) => { t.blur(); palette(); });
on('click', 'dialog', (e, t) => { if (e.target === t) t.close(); });

document.addEventListener('keydown', (e) => {
  if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === 'k') { e.preventDefault(); palette(); return; }
  const p = $('.palette[open]');
  if (p) {
    if (e.key === 'ArrowDown' || e.key === 'ArrowUp') { e.preventDefault(); at = Math.max(0, Math.min(hits.length - 1, at + (e.key === 'ArrowDown' ? 1 : -1))); draw(); }
    if (e.key === 'Enter' && hits[at]) { e.preventDefault(); location.href = hits[at].url; }
    return;
  }
  if (e.key === 'Escape') { for (const d of $$('details.menu[open]')) { d.open = false; $('summary', d).focus(); } return; }
  if (typing(e.target) || e.ctrlKey || e.metaKey || e.altKey) return;
  if (e.key === '/') { const f = $('[data-filter], main input[type=search]'); if (f) { e.preventDefault(); f.focus(); f.select?.(); } }
  if (e.key === '?') $('dialog.keys')?.showModal();
  if (e.key.startsWith('Arrow') && e.target.closest?.('.matrix')) walk(e);
});
function walk(e) { // arrows go from cell to cell
  const td = e.target.closest('td, th'), tr = td?.parentElement, body = tr?.parentElement;
  if (!td) return;
  const d = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[e.key], rows = [...body.rows];
  for (let x = td.cellIndex + d[0], y = rows.indexOf(tr) + d[1]; rows[y] && x >= 0 && x < Math.max(rows[y].cells.length, 2); x += d[0], y += d[1]) {
    const a = rows[y].cells[x] && $('a', rows[y].cells[x]);
    if (a) { e.preventDefault(); a.focus(); return; }
    if (!d[0] && !d[1]) return;
  }
}
document.addEventListener('click', (e) => { for (const d of $$('details.menu[open]')) if (!d.contains(e.target)) d.open = false; });

// Filter the rows at hand while typing; Enter sends the form.
function filter() {
  for (const t of $$('[data-filter]')) {
    const q = t.value.trim().toLowerCase();
    for (const r of $$('[data-row]', document.getElementById(t.dataset.filter) || document)) r.hidden = q !== '' && !r.dataset.row.toLowerCase().includes(q);
  }
}
on('input', '[data-filter]', filter);

on('click', '[data-copy]', async (e, t) => {
  const text = t.dataset.copy || $('pre', t.parentElement)?.textContent || '';
  const say = $('[data-said]', t) || t;
  try { await navigator.clipboard.writeText(text); say.textContent = 'Copied'; } catch { say.textContent = 'Press Ctrl-C'; }
  setTimeout(() => { say.textContent = 'Copy'; }, 1600);
});
on('click', '[data-theme-set]', (e, t) => {
  e.preventDefault();
  const v = t.dataset.themeSet;
  if (v === 'system') delete root.dataset.theme; else root.dataset.theme = v;
  document.cookie = `theme=${v}; path=/; max-age=31536000; samesite=lax`;
});

// Dangerous forms: the button wakes when the name has been typed. The server asks too.
function typed() { for (const i of $$('input[data-confirm]')) { const b = $('button[type=submit]', i.form); if (b) b.disabled = i.value !== i.dataset.confirm; } }
on('input', 'input[data-confirm]', typed);

// A page that came as an answer takes the place of this one.
function replace(html) {
  const doc = new DOMParser().parseFromString(html, 'text/html');
  Idiomorph.morph(document.body, [...doc.body.children], { morphStyle: 'innerHTML' });
  document.title = doc.title; htmx.process(document.body); ready(); scrollTo(0, 0);
  $('[aria-invalid=true]')?.focus();
}

// Files: drag onto the zone, or choose; progress while it goes.
for (const ev of ['dragover', 'dragleave', 'drop']) on(ev, '.drop', (e, z) => {
  e.preventDefault(); z.classList.toggle('over', ev === 'dragover');
  const i = $('input[type=file]', z);
  if (ev === 'drop' && i && e.dataTransfer.files.length) { i.files = e.dataTransfer.files; i.form?.requestSubmit(); }
});
on('submit', 'form[data-upload]', (e, f) => {
  e.preventDefault();
  if (f.dataset.sending) return;
  for (const i of $$('input[data-max]', f)) for (const file of i.files) if (file.size > +i.dataset.max) { // not after minutes of sending
    i.setCustomValidity(`${file.name} is larger than the ${Math.floor(i.dataset.max / 1048576)} MiB that are allowed.`); i.reportValidity();
    i.addEventListener('change', () => i.setCustomValidity(''), { once: true }); return;
  }
  f.dataset.sending = '1';
  let bar = $('progress', f), say = $('[data-progress]', f);
  if (!bar) { bar = document.createElement('progress'); bar.setAttribute('aria-label', 'Upload'); say = document.createElement('p'); say.dataset.progress = ''; say.setAttribute('role', 'status'); f.append(bar, say); }
  bar.removeAttribute('value'); say.textContent = '';
  const x = new XMLHttpRequest(), began = Date.now(), mb = (n) => (n / 1048576).toFixed(1);
  const end = (text) => { delete f.dataset.sending; bar.remove(); say.textContent = text; };
  x.upload.onprogress = (p) => {
    bar.max = p.total; bar.value = p.loaded;
    const left = Math.round((Date.now() - began) / 1000 * (p.total - p.loaded) / Math.max(1, p.loaded));
    say.textContent = p.loaded < p.total ? `${mb(p.loaded)} of ${mb(p.total)} MiB, ${left} s left` : `${mb(p.total)} MiB sent, being checked`;
  };
  x.onload = () => {
    if (x.status < 400) { location.href = x.responseURL; return; }
    end(''); replace(x.responseText);
  };
  x.onerror = () => end('The connection broke. The file was not stored. Send it again.');
  x.open('POST', f.action); x.send(new FormData(f));
});

// Passkeys: the server says what to ask the authenticator, the form carries the answer.
const bytes = (s) => Uint8Array.from(atob(s.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0));
const base64url = (b) => btoa(String.fromCharCode(...new Uint8Array(b))).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
async function passkey(k) {
  k.challenge = bytes(k.challenge);
  if (k.user) k.user.id = bytes(k.user.id);
  for (const c of [...(k.allowCredentials || []), ...(k.excludeCredentials || [])]) c.id = bytes(c.id);
  const c = k.user ? await navigator.credentials.create({ publicKey: k }) : await navigator.credentials.get({ publicKey: k });
  const a = c.response, response = { clientDataJSON: base64url(a.clientDataJSON) };
  if (k.user) Object.assign(response, { attestationObject: base64url(a.attestationObject), transports: a.getTransports?.() || [] });
  else Object.assign(response, { authenticatorData: base64url(a.authenticatorData), signature: base64url(a.signature) }, a.userHandle && { userHandle: base64url(a.userHandle) });
  return JSON.stringify({ id: c.id, rawId: base64url(c.rawId), type: c.type, response, clientExtensionResults: {} });
}
function noPasskey(err, adding) {
  if (/certificate/i.test(err.message)) return 'The browser uses no passkey with a server whose certificate it does not trust.';
  switch (err.name) {
    case 'InvalidStateError': return 'This device has a passkey for this account already.';
    case 'NotAllowedError': return adding ? 'No passkey was added: it was cancelled, or nothing answered in time.' : 'No passkey answered: it was cancelled, or this device has none for this server.';
    case 'SecurityError': return 'The browser uses no passkey at this address.';
    case 'TypeError': return 'The server did not answer. Try again.';
  }
  return `The browser uses no passkey here (${err.name}).`;
}
on('submit', 'form[data-passkey]', async (e, f) => {
  e.preventDefault();
  if (f.dataset.sending) return;
  f.dataset.sending = '1';
  let say = $('[data-refused]', f);
  if (!say) { say = document.createElement('p'); say.dataset.refused = ''; say.className = 't-bad'; say.setAttribute('role', 'status'); f.append(say); }
  say.textContent = '';
  let adding = false;
  try {
    if (!window.PublicKeyCredential) throw new DOMException('', 'NotSupportedError');
    const r = await fetch(f.dataset.passkey, { method: 'POST', body: new URLSearchParams(new FormData(f)) });
    if (r.redirected) { location.href = r.url; return; }
    if (!r.headers.get('Content-Type')?.startsWith('application/json')) { replace(await r.text()); return; }
    const asked = (await r.json()).publicKey;
    adding = !!asked.user;
    f.elements.credential.value = await passkey(asked);
    for (const i of $$('input[type=password]', f)) i.value = ''; // it was asked for
    f.submit();
  } catch (err) { say.textContent = noPasskey(err, adding); } finally { delete f.dataset.sending; }
});

// Rows that have an order are dragged where a form takes the order; Up and Down do the same.
let dragged;
const ordered = (t) => t.closest('tr[data-id]') && $(`form[data-order="${CSS.escape(t.closest('table')?.id || '')}"]`);
on('pointerdown', 'tr[data-id]', (e, t) => { t.draggable = !!ordered(t) && !e.target.closest('a, button, input, label'); });
on('dragstart', 'tr[data-id]', (e, t) => { if (!ordered(t)) return; dragged = t; t.classList.add('dragged'); e.dataTransfer.effectAllowed = 'move'; });
on('dragover', 'tr[data-id]', (e, t) => {
  if (!dragged || t.parentElement !== dragged.parentElement) return;
  e.preventDefault();
  const r = t.getBoundingClientRect();
  if (t !== dragged) t[e.clientY > r.top + r.height / 2 ? 'after' : 'before'](dragged);
});
on('dragend', 'tr[data-id]', (e, t) => {
  if (!dragged) return;
  const f = ordered(t);
  dragged.classList.remove('dragged'); dragged = null;
  f.elements.order.value = $$('tr[data-id]', t.parentElement).map((r) => r.dataset.id).join(',');
  f.requestSubmit();
});

// Links: fetch on intent, so that the click finds the page warm.
const warm = new Set();
on('pointerover', 'a[href^="/"]', (e, a) => {
  if (warm.has(a.href) || a.hasAttribute('download') || a.origin !== location.origin) return;
  warm.add(a.href);
  const l = document.createElement('link'); l.rel = 'prefetch'; l.href = a.href; document.head.append(l);
});

// Following a log: stay at its end while the reader is there.
let follow = false;
addEventListener('scroll', () => { follow = innerHeight + scrollY >= root.scrollHeight - 40; }, { passive: true });
new MutationObserver(() => { if (follow && $('.log[data-follow]')) scrollTo(0, root.scrollHeight); }).observe(document, { childList: true, subtree: true });

function ready() { times(); $('.rail [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' }); typed(); connect(); for (const d of $$('details[data-target]')) if (d.contains($(':target'))) d.open = true; }
document.addEventListener('htmx:afterSettle', ready);
document.readyState === 'loading' ? document.addEventListener('DOMContentLoaded', ready) : ready();
