//! `connection types`: the table of types, or one type's pairs with the reasons.

use serde_json::json;

use super::{CliError, Exit, output};
use crate::endpoint::type_matrix::{PairEntry, Partner, TypeEntry, TypeMatrix};

#[derive(Debug, clap::Args)]
pub(super) struct Types {
    /// Show this type's pairs.
    #[arg(value_name = "TYPE")]
    of: Option<String>,
    /// Print the table as docs/types.md has it.
    #[arg(long, conflicts_with_all = ["of", "json"])]
    markdown: bool,
}

pub(super) fn run(json: bool, args: &Types) -> Result<Exit, CliError> {
    let matrix = TypeMatrix::new();
    if args.markdown {
        output::say(matrix.markdown().trim_end());
        return Ok(Exit::Done);
    }
    match &args.of {
        Some(name) => one(json, &matrix, name)?,
        None if json => output::json(&matrix)?,
        None => all(&matrix),
    }
    Ok(Exit::Done)
}

fn all(matrix: &TypeMatrix) {
    let row = |of: &TypeEntry| {
        vec![
            of.name.clone(),
            of.value.clone(),
            of.holds.clone(),
            of.note.to_owned(),
        ]
    };
    let rows = matrix.types.iter().map(row).collect();
    output::table(&["TYPE", "VALUE", "HOLDS", "NOTE"], rows, "");
    output::note("`connection types TYPE` shows which types it can be synced with.");
}

fn one(json: bool, matrix: &TypeMatrix, name: &str) -> Result<(), CliError> {
    let partners = matrix.partners(name).ok_or_else(|| {
        let names: Vec<&str> = matrix.types.iter().map(|of| of.name.as_str()).collect();
        let text = format!("{name} is not listed; these are: {}", names.join(", "));
        CliError::Usage(output::plain(&text))
    })?;
    if json {
        let is_of = |pair: &&PairEntry| pair.from == name || pair.to == name;
        let pairs: Vec<_> = matrix.pairs.iter().filter(is_of).collect();
        return output::json(&json!({ "type": name, "pairs": pairs }));
    }
    let row = |partner: &Partner| {
        vec![
            partner.name.clone(),
            partner.relation.to_owned(),
            partner.reasons.join("; "),
        ]
    };
    let empty = format!("{name} can't be synced with any type.");
    let rows = partners.iter().map(row).collect();
    output::table(&["WITH", "RELATION", "WHY NOT"], rows, &empty);
    output::note("Types that are not listed are refused: no exact conversion exists.");
    Ok(())
}
