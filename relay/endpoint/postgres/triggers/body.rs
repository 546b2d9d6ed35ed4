//! The trigger function of one table: which records a statement has changed, and how they are now.
//!
//! It joins the statement's records with the table and keeps what the table has, not what the
//! statement wrote: a trigger of the customer's may have changed the record again, and that
//! statement was reported first. It must never make the customer's statement fail, so it looks
//! first whether the columns that it names are still there. Pure text.

use super::super::outbox::OutboxName;
use super::super::shape::{Shape, texts};

/// The body, between `begin` and `end`. Two that are equal do the same. `equals` are the operators of
/// the key's columns: what an extension's type needs is not in the function's search path.
pub(super) fn body(name: &OutboxName, shape: &Shape, equals: &[String]) -> String {
    let outbox = name.outbox();
    let pair = shape.pair.0;
    let table = &shape.relation;
    let (now, was) = (texts(&shape.key, "t"), texts(&shape.key, "o"));
    let fields = texts(&shape.fields, "t");
    let (same_new, same_old) = (same_key(shape, equals, "n"), same_key(shape, equals, "o"));
    let present = format!("{now}, {fields} from new_rows n join {table} t on {same_new}");
    let gone = format!(
        "insert into {outbox} (pair, op, key) select {pair}, 'd', {was} from old_rows o \
         where not exists (select from {table} t where {same_old})"
    );
    let is_known = shape.is_unchanged();
    format!(
        "
begin
  if not ({is_known}) then
    insert into {outbox} (pair, op) values ({pair}, 'x');
  elsif tg_op = 'INSERT' then
    insert into {outbox} (pair, op, key, fields) select {pair}, 'i', {present};
  elsif tg_op = 'UPDATE' then
    if (select count(*) from (select from old_rows limit 2) s) = 1 then
      insert into {outbox} (pair, op, old_key, key, fields)
        select {pair}, 'u', (select {was} from old_rows o), {present};
      if not found then
        {gone};
      end if;
    else
      {gone};
      insert into {outbox} (pair, op, key, fields) select {pair}, 'u', {present};
    end if;
  elsif tg_op = 'DELETE' then
    {gone};
  else
    insert into {outbox} (pair, op) values ({pair}, 't');
  end if;
  return null;
end"
    )
}

fn same_key(shape: &Shape, equals: &[String], alias: &str) -> String {
    let parts: Vec<String> = shape
        .key
        .iter()
        .zip(equals)
        .map(|(column, equals)| format!("t.{0} {equals} {alias}.{0}", column.quoted))
        .collect();
    parts.join(" and ")
}
