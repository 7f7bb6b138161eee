// Does what a CI system does with Octopus's TypeScript client: finds the space and its
// projects, pushes a package, creates a release, deploys it, waits, and reads the log.
// Arguments: address, API key, space, project, environment, package file. It prints one
// line of JSON.
const {
  Client, SpaceRepository, ProjectRepository, EnvironmentRepository, PackageRepository, OverwriteMode,
  ReleaseRepository, DeploymentRepository, ServerTaskWaiter, SpaceServerTaskRepository, LifecycleRepository,
  ProjectGroupRepository, EnvironmentV2Repository, TagSetRepository, TenantRepository,
} = require("@octopusdeploy/api-client");

async function main([instanceURL, apiKey, spaceName, project, environment, file]) {
  const client = await Client.create({ instanceURL, apiKey, userAgentApp: "octopuses-test" });
  const said = {};
  said.user = (await client.get("~/api/users/me")).Username;
  said.spaces = (await new SpaceRepository(client).list({})).Items.map((s) => s.Name);
  said.projects = (await new ProjectRepository(client, spaceName).list({})).Items.map((p) => p.Name);
  said.environments = (await new EnvironmentRepository(client, spaceName).list({})).Items.map((e) => e.Name);
  said.lifecycles = (await new LifecycleRepository(client, spaceName).list({})).Items.map((l) => l.Name);
  said.groups = (await new ProjectGroupRepository(client, spaceName).list({})).Items.map((g) => g.Name);
  said.environmentsV2 = (await new EnvironmentV2Repository(client, spaceName).list({})).Items.map((e) => e.Name);
  // Of what this server does not have there is none.
  said.none = [await new TenantRepository(client, spaceName).list({}), await new TagSetRepository(client, spaceName).list({})].every((l) => l.Items.length === 0);
  await new PackageRepository(client, spaceName).push([file], OverwriteMode.OverwriteExisting);
  said.packages = (await new PackageRepository(client, spaceName).list({ filter: "typed" })).Items.map((p) => p.PackageId + " " + p.Version);
  const releases = new ReleaseRepository(client, spaceName);
  const release = await releases.create({ spaceName, ProjectName: project, ReleaseVersion: "4.5.6", ReleaseNotes: "typed" });
  said.version = release.ReleaseVersion;
  const asked = await new DeploymentRepository(client, spaceName).create({ spaceName, ProjectName: project, ReleaseVersion: release.ReleaseVersion, EnvironmentNames: [environment] });
  const ids = asked.DeploymentServerTasks.map((t) => t.ServerTaskId);
  const done = await new ServerTaskWaiter(client, spaceName).waitForServerTasksToComplete(ids, 200, 60000);
  said.states = done.map((t) => t.State);
  const details = await new SpaceServerTaskRepository(client, spaceName).getDetails(ids[0]);
  said.log = JSON.stringify(details.ActivityLogs);
  said.deployment = (await new DeploymentRepository(client, spaceName).get(asked.DeploymentServerTasks[0].DeploymentId)).TaskId === ids[0];
  try {
    await releases.create({ spaceName, ProjectName: "nobody", ReleaseVersion: "1.0.0" });
  } catch (e) {
    said.refused = String(e.message);
  }
  console.log("\n" + JSON.stringify(said));
  process.exit(0); // the waiter's clock would keep the program for its whole timeout
}

main(process.argv.slice(2)).catch((e) => {
  console.error(e);
  process.exit(1);
});
