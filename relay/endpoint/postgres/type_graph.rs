//! Types that are made of others (domains, arrays, ranges, rows), read from the catalog.
//!
//! Two columns may only exchange values as text that both servers read the same way, so what only
//! PostgreSQL understands is named by its structure: `row(street text, number integer)` and not
//! `public.address`, since the other side's type of that name may have other parts. Called by
//! [`super::relations`].

use std::collections::HashMap;

use tidegate_sync::codec::FieldType;
use tokio_postgres::types::{Oid, Type};
use tokio_postgres::{Error, Row};

use super::connect::Connected;
use super::types::built_in;

/// Every type that the columns of some tables are made of.
pub(super) struct TypeGraph {
    types: HashMap<Oid, Node>,
}

/// One type.
#[derive(Clone, Debug, Default)]
struct Node {
    /// `pg_type.typname`.
    name: String,
    /// Its schema as SQL writes it, with the dot; empty for the server's own types.
    prefix: String,
    /// `pg_type.typtype`: `b`, `c`, `d`, `e`, `m`, `r`.
    kind: String,
    extension: Option<String>,
    /// An array's items.
    element: Option<Part>,
    /// A domain's base.
    base: Option<Part>,
    /// A range's or multirange's bounds.
    subtype: Option<Part>,
    /// The range type rounds its bounds (`int4range`).
    is_canonical: bool,
    /// In sort order.
    labels: Vec<String>,
    /// Of a row, in order.
    attributes: Vec<(String, Part)>,
}

/// A type within another, or a column's.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub oid: Oid,
    pub modifier: i32,
    /// `format_type(oid, modifier)`.
    pub name: String,
}

impl TypeGraph {
    /// Reads what the columns of `tables` need: one round trip. `to_jsonb` because PostgreSQL 13
    /// has no multiranges.
    pub(super) async fn read(session: &Connected, tables: &[Oid]) -> Result<TypeGraph, Error> {
        let sql = "
            with recursive needed as (
                select distinct a.atttypid as oid from pg_attribute a
                where a.attrelid = any ($1) and a.attnum > 0 and not a.attisdropped
                union
                select part.oid from needed n join pg_type t on t.oid = n.oid
                cross join lateral (
                    select t.typbasetype where t.typtype = 'd'
                    union all select e.oid from pg_type e where e.typarray = t.oid
                    union all select g.rngsubtype from pg_range g
                        where t.oid in (g.rngtypid, (to_jsonb(g) ->> 'rngmultitypid')::oid)
                    union all select a.atttypid from pg_attribute a
                        where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0
                          and not a.attisdropped
                ) part (oid)
            )
            select t.oid, t.typname::text as name, t.typtype::text as kind,
                   case when n.nspname = 'pg_catalog' then '' else quote_ident(n.nspname) || '.' end
                       as prefix,
                   (select x.extname::text from pg_depend d
                    join pg_extension x on x.oid = d.refobjid
                    where d.classid = 'pg_type'::regclass and d.objid = t.oid
                      and d.refclassid = 'pg_extension'::regclass and d.deptype = 'e') as extension,
                   e.oid as element, format_type(e.oid, -1) as element_name,
                   e.typdelim::text as delimiter,
                   nullif(t.typbasetype, 0) as base, t.typtypmod as base_modifier,
                   format_type(t.typbasetype, t.typtypmod) as base_name,
                   g.rngsubtype as subtype, format_type(g.rngsubtype, -1) as subtype_name,
                   coalesce(g.rngcanonical <> 0, false) as is_canonical,
                   array(select l.enumlabel::text from pg_enum l where l.enumtypid = t.oid
                         order by l.enumsortorder) as labels,
                   row.names, row.oids, row.modifiers, row.formatted
            from needed join pg_type t on t.oid = needed.oid
            join pg_namespace n on n.oid = t.typnamespace
            left join pg_type e on e.typarray = t.oid
            left join pg_range g on t.oid in (g.rngtypid, (to_jsonb(g) ->> 'rngmultitypid')::oid)
            left join lateral (
                select array_agg(quote_ident(a.attname) order by a.attnum) as names,
                       array_agg(a.atttypid order by a.attnum) as oids,
                       array_agg(a.atttypmod order by a.attnum) as modifiers,
                       array_agg(format_type(a.atttypid, a.atttypmod) order by a.attnum)
                           as formatted
                from pg_attribute a
                where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0
                  and not a.attisdropped
            ) as row on true";
        let rows = session
            .query_typed(sql, &[(&tables, Type::OID_ARRAY)])
            .await?;
        let types = rows.iter().map(|row| Ok((row.try_get("oid")?, node(row)?)));
        Ok(TypeGraph {
            types: types.collect::<Result<_, Error>>()?,
        })
    }

    /// What a column of this type holds.
    pub(super) fn field_type(&self, part: &Part) -> FieldType {
        self.resolve(part, limits::DEPTH)
    }

    fn resolve(&self, part: &Part, depth: usize) -> FieldType {
        let opaque = || FieldType::Opaque {
            name: self.structure(part, depth),
        };
        let (Some(node), Some(depth)) = (self.types.get(&part.oid), depth.checked_sub(1)) else {
            return opaque();
        };
        if let Some(known) = built_in(part.oid, part.modifier) {
            return known;
        }
        if !node.labels.is_empty() {
            return FieldType::Enum {
                labels: node.labels.clone(),
            };
        }
        if let Some(base) = &node.base {
            return self.resolve(base, depth);
        }
        if node.extension.as_deref() == Some("citext") && node.name == "citext" {
            return FieldType::Text {
                max: None,
                ignores_case: true,
            };
        }
        match &node.element {
            // The modifier of an array is its items'.
            Some(element) => match self.resolve(&element.with(part.modifier), depth) {
                // A list in a list would be taken for two dimensions; and what is carried with a
                // modifier is known by the whole name alone.
                FieldType::Array { .. } => opaque(),
                FieldType::Opaque { .. } if part.modifier != NO_MODIFIER => opaque(),
                of => FieldType::Array { of: Box::new(of) },
            },
            None => opaque(),
        }
    }

    /// The type in words that are the same on every server where its text means the same.
    fn structure(&self, part: &Part, depth: usize) -> String {
        let (Some(node), Some(depth)) = (self.types.get(&part.oid), depth.checked_sub(1)) else {
            return part.name.clone();
        };
        let inner = |part: &Part| self.structure(part, depth);
        match (node.kind.as_str(), &node.subtype, &node.base, &node.element) {
            ("e", ..) => format!("enum{:?}", node.labels),
            ("d", _, Some(base), _) => inner(base),
            ("c", ..) => {
                let attribute = |(name, part): &(String, Part)| format!("{name} {}", inner(part));
                let attributes: Vec<String> = node.attributes.iter().map(attribute).collect();
                format!("row({})", attributes.join(", "))
            }
            ("r" | "m", Some(subtype), ..) if !node.prefix.is_empty() => {
                let rounding = match node.is_canonical {
                    true => format!(" as {}{}", node.prefix, node.name),
                    false => String::new(),
                };
                let many = if node.kind == "m" { "multi" } else { "" };
                format!("{many}range of {}{rounding}", inner(subtype))
            }
            (_, _, _, Some(element)) if part.modifier == NO_MODIFIER => {
                format!("{}[]", inner(element))
            }
            // An extension may be installed in another schema there.
            _ if node.extension.is_some() => {
                let name = part.name.strip_prefix(&node.prefix);
                name.unwrap_or(&part.name).to_owned()
            }
            _ => part.name.clone(),
        }
    }
}

impl Part {
    fn with(&self, modifier: i32) -> Part {
        Part {
            modifier,
            ..self.clone()
        }
    }
}

fn node(row: &Row) -> Result<Node, Error> {
    let part = |oid: &str, name: &str| -> Result<Option<Part>, Error> {
        let oid: Option<Oid> = row.try_get(oid)?;
        let name: Option<String> = row.try_get(name)?;
        Ok(oid.zip(name).map(|(oid, name)| Part {
            oid,
            modifier: NO_MODIFIER,
            name,
        }))
    };
    let delimiter: Option<String> = row.try_get("delimiter")?;
    let names: Option<Vec<String>> = row.try_get("names")?;
    let oids: Option<Vec<Oid>> = row.try_get("oids")?;
    let modifiers: Option<Vec<i32>> = row.try_get("modifiers")?;
    let formatted: Option<Vec<String>> = row.try_get("formatted")?;
    let parts = oids
        .unwrap_or_default()
        .into_iter()
        .zip(modifiers.unwrap_or_default());
    let parts = parts.zip(formatted.unwrap_or_default());
    let parts = parts.map(|((oid, modifier), name)| Part {
        oid,
        modifier,
        name,
    });
    let base_modifier: i32 = row.try_get("base_modifier")?;
    Ok(Node {
        name: row.try_get("name")?,
        prefix: row.try_get("prefix")?,
        kind: row.try_get("kind")?,
        extension: row.try_get("extension")?,
        element: part("element", "element_name")?.filter(|_| delimiter.as_deref() == Some(",")),
        base: part("base", "base_name")?.map(|base| base.with(base_modifier)),
        subtype: part("subtype", "subtype_name")?,
        is_canonical: row.try_get("is_canonical")?,
        labels: row.try_get("labels")?,
        attributes: names.unwrap_or_default().into_iter().zip(parts).collect(),
    })
}

/// As `pg_attribute.atttypmod` says it.
const NO_MODIFIER: i32 = -1;

mod limits {
    /// Types within types; deeper ones keep their name.
    pub(super) const DEPTH: usize = 16;
}
