// Notion's own client (npm `@notionhq/client`) against the double.
import { APIErrorCode, Client, collectPaginatedAPI, isFullPage } from "@notionhq/client";
import { address, assert, claim, double, refused, token } from "./double.mjs";

const notion = new Client({ auth: token, baseUrl: address, notionVersion: "2025-09-03", retry: false });
await double.traps({ limits: "off" });

let source;
await claim("signs in, and finds the data source and its database", async () => {
  assert.equal((await notion.users.me({})).name, "Double");
  const found = await notion.search({ filter: { property: "object", value: "data_source" } });
  assert.equal(found.results.length, 1);
  source = await notion.dataSources.retrieve({ data_source_id: found.results[0].id });
  assert.equal(source.properties.Name.type, "title");
  const database = await notion.databases.retrieve({ database_id: source.parent.database_id });
  assert.deepEqual(database.data_sources, [{ id: source.id, name: "Contacts" }]);
});

const query = (more = {}) => notion.dataSources.query({ data_source_id: source.id, ...more });

await claim("lists all pages by cursor", async () => {
  const pages = await collectPaginatedAPI(notion.dataSources.query, { data_source_id: source.id });
  assert.equal(pages.length, 250);
  assert.ok(pages.every(isFullPage));
  assert.equal((await double.calls())["POST /v1/data_sources/{source}/query"], 3);
});

await claim("filters by property and by stamp, and sorts", async () => {
  const customers = { property: "Stage", select: { equals: "Customer" } };
  const high = { property: "Score", number: { greater_than_or_equal_to: 240 } };
  const found = await query({
    filter: { and: [customers, high] },
    sorts: [{ property: "Score", direction: "descending" }],
  });
  const scores = found.results.map((page) => page.properties.Score.number);
  assert.deepEqual(scores, [249, 246, 243, 240]);
  const either = [7, 8].map((n) => ({ property: "Name", title: { equals: `Contact ${n}` } }));
  assert.equal((await query({ filter: { or: either } })).results.length, 2);
  const stamp = found.results[0].last_edited_time;
  assert.match(stamp, /:00\.000Z$/);
  const later = { timestamp: "last_edited_time", last_edited_time: { on_or_after: stamp } };
  assert.ok((await query({ filter: later })).results.length > 0);
});

let page;
await claim("creates, reads and updates a page, by names and by ids", async () => {
  page = await notion.pages.create({
    parent: { type: "data_source_id", data_source_id: source.id },
    properties: {
      Name: { title: [{ text: { content: "New" } }] },
      Score: { number: 1.5 },
      Due: { date: { start: "2026-11-26" } },
    },
  });
  const read = await notion.pages.retrieve({ page_id: page.id });
  assert.equal(read.properties.Name.title[0].plain_text, "New");
  assert.equal(read.properties.Due.date.start, "2026-11-26");
  assert.equal(read.parent.data_source_id, source.id);
  const id = source.properties.Score.id;
  const updated = await notion.pages.update({ page_id: page.id, properties: { [id]: { number: null } } });
  assert.equal(updated.properties.Score.number, null);
  assert.equal(updated.properties.Name.title[0].plain_text, "New");
});

await claim("what is too long or unknown is refused with a code", async () => {
  const long = { Notes: { rich_text: [{ text: { content: "x".repeat(2001) } }] } };
  const error = await refused(() => notion.pages.update({ page_id: page.id, properties: long }));
  assert.equal(error.code, APIErrorCode.ValidationError);
  const unknown = { Nme: { number: 1 } };
  const other = await refused(() => notion.pages.update({ page_id: page.id, properties: unknown }));
  assert.equal(other.code, APIErrorCode.ValidationError);
});

await claim("a page goes into the trash and out of it", async () => {
  await notion.pages.update({ page_id: page.id, in_trash: true });
  const filter = { property: "Name", title: { equals: "New" } };
  assert.equal((await query({ filter })).results.length, 0);
  assert.equal((await notion.pages.retrieve({ page_id: page.id })).in_trash, true);
  await notion.pages.update({ page_id: page.id, in_trash: false });
  assert.equal((await query({ filter })).results.length, 1);
  const gone = await refused(() => notion.pages.retrieve({ page_id: "00000000-0000-4000-8000-000000000000" }));
  assert.equal(gone.code, APIErrorCode.ObjectNotFound);
});

await claim("a query that is capped looks finished", async () => {
  await double.traps({ "query-cap": "120" });
  const pages = await collectPaginatedAPI(notion.dataSources.query, { data_source_id: source.id });
  assert.equal(pages.length, 120);
  assert.equal((await query()).request_status.type, "incomplete");
  await double.traps({ "query-cap": "10000" });
});

await claim("a refusal for rate tells the wait, and the client's own retry heeds it", async () => {
  await double.fault("limited=1", { times: 1 });
  const error = await refused(() => query());
  assert.equal(error.code, APIErrorCode.RateLimited);
  assert.equal(new Headers(error.headers).get("retry-after"), "1");
  await double.fault("limited=1", { times: 1 });
  const patient = new Client({ auth: token, baseUrl: address, notionVersion: "2025-09-03" });
  assert.equal((await patient.users.me({})).type, "bot");
});

await claim("a wrong token is told as such", async () => {
  const other = new Client({ auth: "wrong", baseUrl: address });
  assert.equal((await refused(() => other.users.me({}))).code, APIErrorCode.Unauthorized);
});
