//! The SQL of a role that may do what a sync needs and nothing else. Pure text; a person reads it
//! and runs it. Called by `cli`.

use std::fmt::Write;

use crate::config::Target;

/// A table name as the operator wrote it.
#[derive(Debug, PartialEq, Eq)]
struct Table {
    schema: String,
    name: String,
}

/// Explained SQL that makes the target's role and grants it these tables.
pub fn sql(target: &Target, tables: &[String]) -> Result<String, String> {
    let mut parsed = Vec::new();
    for text in tables {
        let table = parse(text)?;
        if !parsed.contains(&table) {
            parsed.push(table);
        }
    }
    let role = quoted(&target.user);
    let mut out = String::new();
    // Writing to a String doesn't fail.
    let _ = write_role(&mut out, target, &role);
    let _ = write_tables(&mut out, target, &role, &parsed);
    Ok(out)
}

fn write_role(out: &mut String, target: &Target, role: &str) -> std::fmt::Result {
    let database = quoted(&target.database);
    writeln!(
        out,
        "-- Role of tidegate-agent for target {}. Run as a superuser",
        target.name
    )?;
    writeln!(
        out,
        "-- in database {database}, then set the password with: \\password {role}\n"
    )?;
    writeln!(
        out,
        "-- The password is kept as a SCRAM verifier, which the agent insists on."
    )?;
    writeln!(out, "set password_encryption = 'scram-sha-256';\n")?;
    writeln!(
        out,
        "-- May log in and read the change stream (logical replication); not a"
    )?;
    writeln!(
        out,
        "-- superuser, creates no roles and no databases, bypasses no row security."
    )?;
    writeln!(
        out,
        "create role {role} login replication nosuperuser nocreatedb nocreaterole nobypassrls;\n"
    )?;
    writeln!(out, "-- May connect to this database.")?;
    writeln!(out, "grant connect on database {database} to {role};\n")?;
    if target.read_only {
        return Ok(());
    }
    if target.allow_ddl {
        write_ddl(out, &database, role)
    } else {
        write_no_ddl(out, role)
    }
}

fn write_ddl(out: &mut String, database: &str, role: &str) -> std::fmt::Result {
    let text = format!(
        "-- May create the publication that names the tables to follow (allow_ddl is true),
-- and the schema in which it remembers its progress.
grant create on database {database} to {role};
-- PostgreSQL lets only a table's owner publish it. If another role owns the
-- tables, `sync plan` and `sync status` show the one statement that this owner must
-- run. Or make {role} a member of the owner, with all its rights:
--   grant <owner of the tables> to {role};
"
    );
    writeln!(out, "{text}")
}

/// Without `allow_ddl` the role gets no right to create anything but its own progress table.
fn write_no_ddl(out: &mut String, role: &str) -> std::fmt::Result {
    let text = format!(
        "-- Remembers its progress in a schema of its own. It may create nothing else: the
-- tables' owner makes the publication, as `sync plan` shows it (or set allow_ddl).
create schema if not exists tidegate authorization {role};
"
    );
    writeln!(out, "{text}")
}

fn write_tables(
    out: &mut String,
    target: &Target,
    role: &str,
    tables: &[Table],
) -> std::fmt::Result {
    let mut schemas: Vec<&str> = tables.iter().map(|table| table.schema.as_str()).collect();
    schemas.sort_unstable();
    schemas.dedup();
    writeln!(out, "-- May name objects in these schemas.")?;
    for schema in schemas {
        writeln!(out, "grant usage on schema {} to {role};", quoted(schema))?;
    }
    let privileges = if target.read_only {
        writeln!(out, "\n-- May read these tables; the target is read_only.")?;
        "select"
    } else {
        writeln!(
            out,
            "\n-- May read and write the rows of these tables, and no other table."
        )?;
        "select, insert, update, delete"
    };
    for table in tables {
        writeln!(
            out,
            "grant {privileges} on table {} to {role};",
            table.quoted()
        )?;
    }
    if target.read_only {
        return Ok(());
    }
    writeln!(
        out,
        "\n-- May draw numbers for serial columns of these tables (identity columns"
    )?;
    writeln!(out, "-- need no grant).")?;
    for table in tables {
        let name = literal(&table.quoted());
        writeln!(out, "do $$ declare s regclass; begin")?;
        writeln!(out, "  for s in select d.objid::regclass from pg_depend d")?;
        writeln!(
            out,
            "    join pg_class c on c.oid = d.objid and c.relkind = 'S'"
        )?;
        writeln!(
            out,
            "    where d.refobjid = {name}::regclass and d.deptype = 'a'"
        )?;
        writeln!(
            out,
            "  loop execute format('grant usage, select, update on sequence %s to %I', s,"
        )?;
        writeln!(out, "    {}); end loop;", literal(&target.user))?;
        writeln!(out, "end $$;")?;
    }
    Ok(())
}

impl Table {
    fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

/// `table` or `schema.table`; a part in double quotes is taken as it is, as PostgreSQL reads it.
fn parse(text: &str) -> Result<Table, String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    let mut is_quoted = false;
    while let Some(c) = chars.next() {
        let Some(part) = parts.last_mut() else { break };
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                chars.next();
                part.push('"');
            }
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => parts.push(String::new()),
            c if is_quoted => part.push(c),
            c => part.extend(c.to_lowercase()),
        }
    }
    let wrong = || format!("{text:?} is not a table name: write table or schema.table");
    if is_quoted
        || parts
            .iter()
            .any(|part| part.is_empty() || part.contains('\0'))
    {
        return Err(wrong());
    }
    match parts.as_slice() {
        [name] => Ok(Table {
            schema: "public".into(),
            name: name.clone(),
        }),
        [schema, name] => Ok(Table {
            schema: schema.clone(),
            name: name.clone(),
        }),
        _ => Err(wrong()),
    }
}

/// An identifier, quoted unless it is plainly lower case.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if starts && name.chars().all(plain) && !RESERVED.contains(&name) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal. Inside `$$` a dollar pair in a name would end the block; it is escaped.
fn literal(text: &str) -> String {
    let escaped = text
        .replace('\\', "\\\\")
        .replace('\'', "''")
        .replace('$', "\\x24");
    if escaped.contains('\\') {
        format!("E'{escaped}'")
    } else {
        format!("'{escaped}'")
    }
}

/// Reserved words that people use as names (PostgreSQL manual, appendix C). Quoting more would
/// only be ugly; leaving one out gives a syntax error, not a wrong grant.
const RESERVED: [&str; 24] = [
    "all",
    "analyze",
    "and",
    "as",
    "asc",
    "case",
    "check",
    "column",
    "default",
    "desc",
    "end",
    "for",
    "from",
    "grant",
    "group",
    "limit",
    "offset",
    "order",
    "primary",
    "references",
    "select",
    "table",
    "user",
    "where",
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn target(extra: &str) -> Target {
        let text = format!(
            "[[target]]\nname='main'\naddress='db:1'\ndatabase='shop'\nuser='tide gate'\n{extra}"
        );
        Config::parse(&text, Path::new("agent.toml"))
            .unwrap()
            .targets
            .remove(0)
    }

    #[test]
    fn role_gets_these_tables_and_no_other() {
        let tables = [
            "posts".to_owned(),
            "Crm.\"Order\"".to_owned(),
            "public.posts".to_owned(),
        ];
        let sql = sql(&target(""), &tables).unwrap();
        assert!(
            sql.contains("create role \"tide gate\" login replication nosuperuser"),
            "{sql}"
        );
        let grant = "grant select, insert, update, delete on table ";
        assert!(
            sql.contains(&format!("{grant}public.posts to \"tide gate\";")),
            "{sql}"
        );
        assert!(
            sql.contains(&format!("{grant}crm.\"Order\" to \"tide gate\";")),
            "{sql}"
        );
        assert_eq!(sql.matches(grant).count(), 2, "{sql}");
        assert!(!sql.contains("on all tables") && !sql.to_lowercase().contains("password '"));
    }

    #[test]
    fn only_allow_ddl_lets_the_role_create_in_the_database() {
        let without = sql(&target(""), &["posts".to_owned()]).unwrap();
        assert!(!without.contains("grant create"), "{without}");
        let schema = "create schema if not exists tidegate authorization \"tide gate\";";
        assert!(without.contains(schema), "{without}");
        let with = sql(&target("allow_ddl=true"), &["posts".to_owned()]).unwrap();
        assert!(
            with.contains("grant create on database shop to \"tide gate\";"),
            "{with}"
        );
        assert!(!with.contains(schema), "{with}");
    }

    #[test]
    fn read_only_target_gets_select_only() {
        let sql = sql(&target("read_only=true"), &["posts".to_owned()]).unwrap();
        assert!(sql.contains("grant select on table public.posts"), "{sql}");
        for word in ["insert", "sequence", "create schema", "grant create"] {
            assert!(!sql.contains(word), "{word}: {sql}");
        }
    }

    #[test]
    fn names_that_are_not_tables_are_refused() {
        for text in ["", "a.b.c", "a.", "\"a", ".b"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(literal("a$$b'c"), "E'a\\x24\\x24b''c'");
    }
}
