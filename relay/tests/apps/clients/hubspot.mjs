// HubSpot's own client (npm `@hubspot/api-client`) against the double.
import { Client } from "@hubspot/api-client";
import { address, assert, claim, double, refused, token } from "./double.mjs";

const hubspot = new Client({ accessToken: token, basePath: address, numberOfApiCallRetries: 0 });
const { contacts, companies, properties, schemas } = hubspot.crm;
await double.traps({ limits: "off", "search-lag": "off" });

await claim("lists the properties of an object, and makes one", async () => {
  const made = await properties.coreApi.create("contacts", {
    name: "slug", label: "Slug", type: "string", fieldType: "text", groupName: "information",
    hasUniqueValue: true,
  });
  assert.equal(made.hasUniqueValue, true);
  const { results } = await properties.coreApi.getAll("contacts", false);
  const stage = results.find((property) => property.name === "lifecyclestage");
  assert.deepEqual(stage.options.map((option) => option.value), ["lead", "customer"]);
  const computed = results.find((property) => property.name === "lastmodifieddate");
  assert.equal(computed.modificationMetadata.readOnlyValue, true);
  await double.hand("create-object", { name: "cars" });
  const own = await schemas.coreApi.getAll(false);
  assert.equal(own.results[0].name, "cars");
});

await claim("lists all records by cursor", async () => {
  const all = await contacts.getAll(100, undefined, ["email", "firstname"]);
  assert.equal(all.length, 250);
  assert.ok(all.every((record) => record.createdAt instanceof Date && record.properties.email));
});

let made;
await claim("creates, reads, updates and archives one record", async () => {
  made = await contacts.basicApi.create({ properties: { email: "New@Example.com", slug: "new" }, associations: [] });
  assert.equal(made.properties.email, "new@example.com");
  const read = await contacts.basicApi.getById("new", ["firstname"], undefined, undefined, false, "slug");
  assert.deepEqual([read.id, read.properties.firstname], [made.id, null]);
  const updated = await contacts.basicApi.update(made.id, { properties: { firstname: "Ada" } });
  assert.equal(updated.properties.firstname, "Ada");
  assert.ok(updated.updatedAt >= made.updatedAt);
  await contacts.basicApi.archive(made.id);
  assert.equal((await refused(() => contacts.basicApi.getById(made.id))).code, 404);
  const archived = await contacts.basicApi.getPage(100, undefined, undefined, undefined, undefined, true);
  assert.deepEqual(archived.results.map((record) => record.id), [made.id]);
  assert.ok(archived.results[0].archivedAt instanceof Date);
});

await claim("searches by filters, in order, by position", async () => {
  const filters = [{ propertyName: "lifecyclestage", operator: "EQ", value: "customer" }];
  const wish = { filterGroups: [{ filters }], sorts: ["-createdate"], properties: ["email"], limit: 50 };
  const first = await contacts.searchApi.doSearch(wish);
  assert.deepEqual([first.total, first.results.length, first.paging.next.after], [84, 50, "50"]);
  const second = await contacts.searchApi.doSearch({ ...wish, after: "50" });
  assert.equal(second.results.length, 34);
  assert.equal(second.paging, undefined);
  const either = { propertyName: "email", operator: "IN", values: ["contact7@example.com", "contact8@example.com"] };
  assert.equal((await contacts.searchApi.doSearch({ filterGroups: [{ filters: [either] }] })).total, 2);
  const since = String(Date.now() - 3600_000);
  const later = { propertyName: "lastmodifieddate", operator: "GTE", value: since };
  assert.equal((await contacts.searchApi.doSearch({ filterGroups: [{ filters: [later] }] })).total, 250);
});

await claim("batches of creates are done in part, and say which item is which", async () => {
  const input = (n, stage) => ({
    properties: { slug: `slug-${n}`, lifecyclestage: stage }, associations: [], objectWriteTraceId: `${n}`,
  });
  const told = await contacts.batchApi.create({ inputs: [input(1, "lead"), input(2, "unheard-of"), input(3, "lead")] });
  assert.equal(told.numErrors, 1);
  assert.deepEqual(told.errors[0].context.objectWriteTraceId, ["2"]);
  assert.equal(told.errors[0].category, "VALIDATION_ERROR");
  const traces = told.results.map((record) => [record.objectWriteTraceId, record.properties.slug]);
  assert.deepEqual(traces.sort(), [["1", "slug-1"], ["3", "slug-3"]]);
});

await claim("batches read, update, upsert and archive", async () => {
  const inputs = [{ id: "slug-1" }, { id: "slug-3" }, { id: "nobody" }];
  const read = await contacts.batchApi.read({ inputs, idProperty: "slug", properties: ["slug"], propertiesWithHistory: [] });
  assert.deepEqual(read.results.map((record) => record.properties.slug).sort(), ["slug-1", "slug-3"]);
  assert.deepEqual(read.errors[0].context.ids, ["nobody"]);
  const first = read.results.find((record) => record.properties.slug === "slug-1");
  const updated = await contacts.batchApi.update({ inputs: [{ id: first.id, properties: { lastname: "L" } }] });
  assert.equal(updated.results[0].properties.lastname, "L");
  const upsert = (id) => ({ id, idProperty: "slug", properties: { firstname: "U" } });
  const upserted = await contacts.batchApi.upsert({ inputs: [upsert("slug-1"), upsert("slug-9")] });
  assert.deepEqual(upserted.results.map((record) => record._new).sort(), [false, true]);
  await contacts.batchApi.archive({ inputs: [{ id: first.id }] });
  assert.equal((await refused(() => contacts.basicApi.getById(first.id))).code, 404);
});

await claim("two merged records are one under a new id, and the old ids lead to it", async () => {
  const [a, b] = await Promise.all(["a", "b"].map((name) => companies.basicApi.create({ properties: { name }, associations: [] })));
  const body = { primaryObjectId: a.id, objectIdToMerge: b.id };
  const answer = await hubspot.apiRequest({ method: "POST", path: "/crm/v3/objects/companies/merge", body });
  const merged = await answer.json();
  assert.ok(![a.id, b.id].includes(merged.id));
  assert.equal((await companies.basicApi.getById(b.id)).id, merged.id);
  assert.deepEqual(merged.properties.hs_merged_object_ids.split(";").sort(), [a.id, b.id].sort());
});

await claim("refusals have a category, and the client's own retry knows the policy", async () => {
  const twice = () => contacts.basicApi.create({ properties: { email: "contact1@example.com" }, associations: [] });
  const conflict = await refused(twice);
  assert.deepEqual([conflict.code, conflict.body.category], [409, "CONFLICT"]);
  const wrong = await refused(() => contacts.basicApi.update("100000", { properties: { firstname: "x" } }));
  assert.equal(wrong.code, 404);
  await double.fault("limited", { times: 1 });
  const limited = await refused(() => contacts.basicApi.getPage());
  assert.deepEqual([limited.code, limited.body.policyName], [429, "TEN_SECONDLY_ROLLING"]);
  await double.fault("limited", { times: 1 });
  const patient = new Client({ accessToken: token, basePath: address, numberOfApiCallRetries: 2 });
  assert.equal((await patient.crm.contacts.basicApi.getPage()).results.length, 10);
});

await claim("an account says which it is, and a wrong token is told as such", async () => {
  const answer = await hubspot.apiRequest({ path: "/account-info/v3/details" });
  assert.equal((await answer.json()).portalId, 62515);
  const other = new Client({ accessToken: "wrong", basePath: address });
  const error = await refused(() => other.crm.contacts.basicApi.getPage());
  assert.deepEqual([error.code, error.body.category], [401, "INVALID_AUTHENTICATION"]);
});
