"""pyairtable, which Airtable's documentation names, against the double."""

import json
import os
import urllib.request

import requests
from pyairtable import Api
from pyairtable.formulas import match

ADDRESS = os.environ["DOUBLE_ADDRESS"]
TOKEN = os.environ["DOUBLE_TOKEN"]


def control(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{ADDRESS}/_double/{path}", data=data, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def claim(what, holds):
    assert holds, what
    print(f"  ok  {what}")


control("PUT", "traps", {"limits": "off"})
api = Api(TOKEN, endpoint_url=ADDRESS)
claim("says who one is", api.whoami()["id"].startswith("usr"))

base = api.bases()[0]
schema = base.table("Contacts").schema()
types = {field.name: field.type for field in schema.fields}
claim("the schema is read into the client's types", types["Stage"] == "singleSelect")
claim("choices are told", schema.field("Stage").options.choices[0].name == "Lead")

table = base.table("Contacts")
claim("all pages are listed", len(table.all(page_size=100)) == 250)
claim("finds by the client's own formulas", table.first(formula=match({"Name": "Contact 17"}))["fields"]["Score"] == 17)
claim("sorts", table.first(sort=["-Score"])["fields"]["Score"] == 249)

hook = base.add_webhook(None, {"options": {"filters": {"dataTypes": ["tableData"]}}})
made = table.batch_create([{"Name": f"Py {n}", "Score": n} for n in range(25)])
claim("creates in batches of ten", len(made) == 25)
claim("three calls for 25", control("GET", "calls")["POST /v0/{base}/{table}"] == 3)
updated = table.batch_update([{"id": row["id"], "fields": {"Stage": "Customer"}} for row in made])
claim("updates in batches", all(row["fields"]["Stage"] == "Customer" for row in updated))
done = table.batch_upsert([{"fields": {"Name": "Py 3", "Notes": "a"}}, {"fields": {"Name": "Py new"}}], ["Name"])
claim("upserts", len(done["createdRecords"]) == 1 and len(done["updatedRecords"]) == 1)
cast = table.create({"Name": "Cast", "Stage": "Partner", "Score": "12"}, typecast=True)
claim("typecast makes a choice and a number", cast["fields"]["Score"] == 12)
try:
    table.create({"Name": "Bad", "Stage": "Nobody"})
    raise AssertionError("an unknown choice must be refused")
except requests.HTTPError as error:
    claim("an unknown choice is refused", "INVALID_MULTIPLE_CHOICE_OPTIONS" in str(error))
table.batch_delete([row["id"] for row in made])
claim("deletes in batches", table.first(formula=match({"Name": "Py 4"})) is None)

other = base.create_table("Orders", [
    {"name": "Number", "type": "singleLineText"},
    {"name": "Contact", "type": "multipleRecordLinks", "options": {"linkedTableId": table.id}},
])
order = other.create({"Number": "A-1", "Contact": [cast["id"]]})
claim("a link is seen from both ends", table.get(cast["id"])["fields"]["Orders"] == [order["id"]])

payloads = list(base.webhook(hook.id).payloads())
tables = [payload.changed_tables_by_id for payload in payloads]
created = sum(len(t[table.id].created_records_by_id) for t in tables if table.id in t)
gone = sum(len(t[table.id].destroyed_record_ids) for t in tables if table.id in t)
claim("the log of payloads tells creates and deletes", (created, gone) == (27, 25))
shown = base.webhook(hook.id)
claim("the cursor counts payloads", shown.cursor_for_next_payload == len(payloads) + 1)
shown.extend_expiration()
shown.delete()
claim("a hook is deleted", base.webhooks() == [])

control("DELETE", "calls")
control("POST", "faults", {"harm": "limited", "times": 2})
claim("the client tries again after 429 by itself", len(table.all(max_records=1)) == 1)
claim("three calls for one answer", control("GET", "calls")["GET /v0/{base}/{table}"] == 3)
