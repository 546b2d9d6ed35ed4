// Webflow's own client (npm `webflow-api`) against the double.
import { WebflowClient } from "webflow-api";
import { address, assert, claim, double, refused, token } from "./double.mjs";

const client = (more = {}) => new WebflowClient({ accessToken: token, baseUrl: `${address}/v2`, maxRetries: 0, ...more });
const webflow = client();
const { collections, sites } = webflow;
const items = collections.items;
await double.traps({ limits: "off" });

let site, contacts;
await claim("signs in, and finds the site, its collections and their fields", async () => {
  assert.equal((await webflow.token.authorizedBy()).email, "double@example.com");
  [site] = (await sites.list()).sites;
  assert.equal((await sites.get(site.id)).displayName, "Double");
  const listed = await collections.list(site.id);
  assert.deepEqual(listed.collections.map((collection) => collection.displayName), ["Contacts"]);
  contacts = await collections.get(listed.collections[0].id);
  const types = Object.fromEntries(contacts.fields.map((field) => [field.slug, field.type]));
  assert.deepEqual([types.name, types.slug, types.stage, types.score], ["PlainText", "PlainText", "Option", "Number"]);
  assert.ok(contacts.fields.find((field) => field.slug === "name").isRequired);
});

const option = (name) => contacts.fields.find((field) => field.slug === "stage").validations.options.find((known) => known.name === name).id;

await claim("lists all items by offset", async () => {
  const all = new Map();
  for (let offset = 0; ; offset += 100) {
    const page = await items.listItems(contacts.id, { offset, limit: 100 });
    page.items.forEach((item) => all.set(item.id, item));
    assert.equal(page.pagination.total, 250);
    if (page.items.length < 100) break;
  }
  assert.equal(all.size, 250);
  const found = await items.listItems(contacts.id, { slug: "contact-7" });
  assert.equal(found.items[0].fieldData.name, "Contact 7");
  const sorted = await items.listItems(contacts.id, { sortBy: "name", sortOrder: "desc", limit: 1 });
  assert.equal(sorted.items[0].fieldData.name, "Contact 99");
});

await claim("filters by fields and ids, and since a moment", async () => {
  const filtered = (queryParams) => items.listItems(contacts.id, {}, { queryParams });
  const two = await filtered({ "filter[name][in]": "Contact 3,Contact 4" });
  assert.equal(two.items.length, 2);
  const ids = two.items.map((item) => item.id);
  assert.equal((await filtered({ "filter[id][in]": ids.join(",") })).items.length, 2);
  const since = new Date(Date.now() + 3600_000).toISOString();
  assert.equal((await filtered({ "lastUpdated[gte]": since })).items.length, 0);
});

let made;
await claim("creates a draft, changes it, publishes it, and takes it off the site", async () => {
  made = await items.createItem(contacts.id, { fieldData: { name: "New one", stage: option("Lead"), score: 7 } });
  assert.deepEqual([made.isDraft, made.lastPublished ?? null, made.fieldData.slug], [true, null, "new-one"]);
  const changed = await items.updateItem(contacts.id, made.id, { fieldData: { score: null } });
  assert.deepEqual([changed.fieldData.score ?? null, changed.fieldData.name], [null, "New one"]);
  const told = await items.publishItem(contacts.id, { itemIds: [made.id] });
  assert.deepEqual(told.publishedItemIds, [made.id]);
  const live = await items.getItemLive(contacts.id, made.id);
  assert.equal(live.fieldData.name, "New one");
  assert.equal((await items.listItemsLive(contacts.id, {})).items.length, 1);
  await items.deleteItemsLive(contacts.id, { items: [{ id: made.id }] });
  assert.equal((await items.getItem(contacts.id, made.id)).isDraft, true);
  await items.deleteItem(contacts.id, made.id);
  assert.equal((await refused(() => items.getItem(contacts.id, made.id))).statusCode, 404);
});

await claim("creates, updates and deletes several in a call", async () => {
  const fieldData = (n) => ({ name: `Many ${n}`, slug: `many-${n}`, email: `many${n}@example.com` });
  const wish = [1, 2, 3].map((n) => ({ isDraft: false, isArchived: false, fieldData: fieldData(n) }));
  const { items: created } = await items.createItem(contacts.id, { items: wish });
  assert.deepEqual(created.map((item) => item.fieldData.name), ["Many 1", "Many 2", "Many 3"]);
  const changes = created.map((item) => ({ id: item.id, fieldData: { score: 1 } }));
  const updated = await items.updateItems(contacts.id, { items: changes });
  assert.ok(updated.items.every((item) => item.fieldData.score === 1 && item.fieldData.email));
  await items.deleteItems(contacts.id, { items: created.map((item) => ({ id: item.id })) });
  assert.equal((await items.listItems(contacts.id, { name: "Many 1" })).items.length, 0);
});

await claim("fields are made, and refer to other collections", async () => {
  const field = await collections.fields.create(contacts.id, {
    type: "Reference", displayName: "Friend", metadata: { collectionId: contacts.id },
  });
  assert.equal(field.type, "Reference");
  const one = { fieldData: { name: "x", slug: "x", friend: "000000000000000000000000" } };
  const error = await refused(() => items.createItem(contacts.id, one));
  assert.equal(error.body.details[0].param, "friend");
});

await claim("refusals have a code and name the field", async () => {
  const twice = { fieldData: { name: "Contact 1", slug: "contact-1" } };
  const error = await refused(() => items.createItem(contacts.id, twice));
  assert.deepEqual([error.statusCode, error.body.code, error.body.details[0].param], [400, "validation_error", "slug"]);
  const many = Array.from({ length: 101 }, (_, n) => ({ fieldData: { name: `${n}`, slug: `${n}` } }));
  assert.equal((await refused(() => items.createItem(contacts.id, { items: many }))).statusCode, 400);
});

await claim("a refusal for rate tells the wait, and the client's own retry heeds it", async () => {
  await double.fault("limited=1", { times: 1 });
  const error = await refused(() => sites.list());
  assert.deepEqual([error.statusCode, error.body.code], [429, "too_many_requests"]);
  await double.fault("limited=1", { times: 1 });
  const began = Date.now();
  assert.equal((await client({ maxRetries: 2 }).sites.list()).sites.length, 1);
  assert.ok(Date.now() - began >= 1000);
});

await claim("a wrong token is told as such", async () => {
  const error = await refused(() => client({ accessToken: "wrong" }).sites.list());
  assert.deepEqual([error.statusCode, error.body.code], [401, "not_authorized"]);
});
