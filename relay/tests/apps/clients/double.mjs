// What the runs of all clients share: the double's address, its controls, and claims.
import assert from "node:assert/strict";

export const address = process.env.DOUBLE_ADDRESS;
export const token = process.env.DOUBLE_TOKEN;
export { assert };

async function control(method, path, body) {
  const answer = await fetch(`${address}/_double/${path}`, {
    method,
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const done = await answer.json();
  assert.ok(answer.ok, `${method} ${path}: ${JSON.stringify(done)}`);
  return done;
}

export const double = {
  calls: () => control("GET", "calls"),
  clearCalls: () => control("DELETE", "calls"),
  fault: (harm, more = {}) => control("POST", "faults", { harm, ...more }),
  clearFaults: () => control("DELETE", "faults"),
  traps: (settings) => control("PUT", "traps", settings),
  advance: (by) => control("POST", "advance", { by }),
  rows: (table) => control("GET", `rows?table=${encodeURIComponent(table)}`),
  create: (table, fields) => control("POST", "rows", { table, fields }),
  update: (table, id, fields) => control("PATCH", "rows", { table, id, fields }),
  remove: (table, id) => control("DELETE", "rows", { table, id }),
  hand: (what, withWhat = {}) => control("POST", "hand", { what, with: withWhat }),
};

// Each claim is one line of the report; the first that fails ends the run.
export async function claim(what, check) {
  try {
    await check();
    console.log(`  ok  ${what}`);
  } catch (error) {
    console.error(`  FAILED  ${what}`);
    console.error(error);
    process.exit(1);
  }
}

// The error that `act` ends with.
export async function refused(act) {
  try {
    await act();
  } catch (error) {
    return error;
  }
  throw new Error("this should have been refused");
}
