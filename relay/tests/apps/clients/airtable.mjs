// Airtable's own client (npm `airtable`) against the double.
import Airtable from "airtable";
import { address, assert, claim, double, refused, token } from "./double.mjs";

const baseId = await double.hand("base");
const base = new Airtable({ apiKey: token, endpointUrl: address }).base(baseId);
const contacts = base("Contacts");
await double.traps({ limits: "off" });

await claim("lists all pages, in order", async () => {
  const records = await contacts.select({ pageSize: 100 }).all();
  assert.equal(records.length, 250);
  assert.equal(records[249].get("Name"), "Contact 249");
  const calls = await double.calls();
  assert.equal(calls["GET /v0/{base}/{table}"], 3);
});

await claim("filters, sorts and picks fields", async () => {
  const records = await contacts
    .select({
      filterByFormula: 'AND({Stage} = "Customer", {Score} >= 240)',
      sort: [{ field: "Score", direction: "desc" }],
      fields: ["Name"],
    })
    .all();
  assert.deepEqual(records.map((record) => record.fields), [249, 246, 243, 240].map((n) => ({ Name: `Contact ${n}` })));
});

let made;
await claim("creates a batch of ten, finds one, updates and replaces", async () => {
  made = await contacts.create(
    Array.from({ length: 10 }, (_, n) => ({ fields: { Name: `New ${n}`, Score: n } })),
  );
  assert.equal(made.length, 10);
  const found = await contacts.find(made[3].id);
  assert.equal(found.get("Name"), "New 3");
  await contacts.update(made[3].id, { Name: "Changed" });
  assert.deepEqual((await contacts.find(made[3].id)).get("Score"), 3);
  await contacts.replace(made[3].id, { Name: "Replaced" });
  assert.equal((await contacts.find(made[3].id)).get("Score"), undefined);
});

await claim("eleven are refused, and one bad record refuses its whole batch", async () => {
  const eleven = Array.from({ length: 11 }, (_, n) => ({ fields: { Name: `Too many ${n}` } }));
  assert.equal((await refused(() => contacts.create(eleven))).error, "INVALID_RECORDS");
  const before = (await double.rows("Contacts")).length;
  const bad = [{ fields: { Name: "Good" } }, { fields: { Score: "abc" } }];
  const error = await refused(() => contacts.create(bad));
  assert.equal(error.error, "INVALID_VALUE_FOR_COLUMN");
  assert.equal(error.statusCode, 422);
  assert.equal((await double.rows("Contacts")).length, before);
  const unknown = await refused(() => contacts.create({ Nme: "x" }));
  assert.equal(unknown.error, "UNKNOWN_FIELD_NAME");
});

await claim("upsert creates what is new and updates what is there", async () => {
  const records = [
    { fields: { Email: "contact7@example.com", Name: "Seven" } },
    { fields: { Email: "fresh@example.com", Name: "Fresh" } },
  ];
  const done = await contacts.update(records, { performUpsert: { fieldsToMergeOn: ["Email"] } });
  assert.equal(done.length, 2);
  assert.equal(done[0].get("Score"), 7);
  assert.equal((await double.rows("Contacts")).filter((row) => row.fields.Name === "Fresh").length, 1);
});

await claim("deletes one and a batch; what is gone is not found", async () => {
  await contacts.destroy(made[0].id);
  const gone = await contacts.destroy(made.slice(1).map((record) => record.id));
  assert.equal(gone.length, 9);
  assert.equal((await refused(() => contacts.find(made[0].id))).statusCode, 404);
});

await claim("the client tries again after 429 by itself", async () => {
  await double.clearCalls();
  await double.fault("limited", { times: 1 });
  const [record] = await contacts.select({ maxRecords: 1 }).firstPage();
  assert.equal(record.get("Name"), "Contact 0");
  assert.equal((await double.calls())["GET /v0/{base}/{table}"], 2);
});

await claim("a wrong token is told as such", async () => {
  const other = new Airtable({ apiKey: "wrong", endpointUrl: address }).base(baseId);
  const error = await refused(() => other("Contacts").select().firstPage());
  assert.equal(error.error, "AUTHENTICATION_REQUIRED");
});
