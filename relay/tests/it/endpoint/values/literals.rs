//! What people write into columns of each type: literals as the server takes them, not yet in the
//! form in which it prints them.

use proptest::prelude::*;
use proptest::strategy::Union;

/// Literals of a listed type: all edges, and a strategy for more where there is one.
pub fn literals(sql: &str) -> (Vec<&'static str>, Option<BoxedStrategy<String>>) {
    (edges(sql), random(sql))
}

/// Types, and literals that all of them take.
const EDGES: &[(&[&str], &[&str])] = &[
    (
        &["numeric"],
        &[
            "1.005", "149", "0.0005", "1e400", "1.500", "-0.00", "nan", "-inf", "1e-400", "007",
        ],
    ),
    (&["numeric(10,2)", "price"], &["1.005", "-0", "99999.99"]),
    (&["numeric(3,-2)"], &["149", "-99949", "150"]),
    (
        &["real"],
        &[
            "0.1",
            "16777217",
            "-0",
            "1e-45",
            "3.4028235e38",
            "123456789",
        ],
    ),
    (
        &["double precision"],
        &["0.1", "-0", "5e-324", "1e23", "9007199254740993"],
    ),
    (
        &["money"],
        &["-92233720368547758.08", "$1,234.5", "0", "(1.1)"],
    ),
    (&["char(8)", "varchar(10)"], &["a  ", "", " a", "NULL"]),
    (
        &["text", "citext"],
        &[
            "",
            "1234567890 ",
            "abcd",
            "\\N",
            "a\tb\r\nc\\",
            "\u{1}\u{feff}Ä",
            "NULL",
        ],
    ),
    (&["bytea"], &["\\x00ff", "a\\\\b\\000"]),
    (
        &["date", "timestamp", "timestamp(3)"],
        &[
            "infinity",
            "-infinity",
            "4714-11-24 BC",
            "0001-01-01",
            "2024-02-29",
        ],
    ),
    (
        &["timestamptz", "timestamptz(0)"],
        &[
            "294276-12-31 23:59:59.4+00",
            "4714-11-24 00:00:00+00 BC",
            "2024-03-31 02:30:00 Europe/Berlin",
            "2024-10-27 02:30:00 Europe/Berlin",
            "2024-10-27 02:30:00+01",
            "1883-11-18 12:03:58.123456 America/New_York",
        ],
    ),
    (
        &["time", "time(0)"],
        &["24:00", "23:59:60", "00:00:00.0000005"],
    ),
    (
        &["timetz", "timetz(0)"],
        &["24:00+15:59:59", "12:00:00.5 -07:30", "00:00:00.000001+00"],
    ),
    (
        &["interval", "interval(3)"],
        &[
            "1 year -1 day 00:00:00.000001",
            "-178956970 years",
            "2562047788:00:54.775",
            "1 mon ago",
            "36 hours",
        ],
    ),
    (
        &["interval year to month"],
        &["1 year 2 months 3 days", "-1"],
    ),
    (
        &["json"],
        &[
            "{\"b\":1,\"a\":1e400,\"b\" : [1.50]}",
            " null ",
            "\"\\u0000\"",
        ],
    ),
    (
        &["jsonb"],
        &[
            "{\"bb\":1.50,\"a\":1e400,\"bb\":2.0}",
            "[]",
            "1.0e-7",
            "\"\\u00e9/\"",
        ],
    ),
    (
        &["xml"],
        &[
            "<a>b</a>",
            "text only",
            "<?xml version=\"1.0\" standalone=\"yes\"?><a/>",
        ],
    ),
    (
        &["hstore"],
        &["", "b=>NULL, a=>\"x, \\\"y\\\"\"", "\"\"=>\"\""],
    ),
    (&["tsvector"], &["b:3A a:1,2B", "'it''s' \\\\", ""]),
    (&["tsquery"], &["a & (b | !c:*AB)", "a <2> b"]),
    (
        &["integer[]"],
        &[
            "{}",
            "[-1:0]={1,NULL}",
            "{{1,2},{3,4}}",
            "[2:2][0:1]={{1,2}}",
        ],
    ),
    (
        &["text[]"],
        &[
            "{}",
            "{NULL,\"NULL\",\"\",\" a\",\"{b}\",\"c\\\\\\\"\",\"d,e\"}",
            "[5:5]={x}",
            "{{{{{{a}}}}}}",
        ],
    ),
    (&["numeric(10,2)[]"], &["{1.005,NaN}", "[0:1]={1,2}"]),
    (
        &["timestamptz[]"],
        &["{infinity,\"2024-03-31 02:30:00 Europe/Berlin\"}"],
    ),
    (
        &["jsonb[]"],
        &["{\"{\\\"a\\\":[1.50,null]}\",NULL,\"null\"}"],
    ),
    (&["mood"], &["fine", "it's", ""]),
    (&["mood[]"], &["{fine,\"it's\",\"\",NULL}"]),
    (
        &["address"],
        &["(\"a, \"\"b\"\"\",)", "(,7)", "(\"\",)", "(,)"],
    ),
    (
        &["int4range", "int8range"],
        &["empty", "(1,3]", "[,5]", "(,)"],
    ),
    (&["numrange"], &["empty", "[1.50,NaN]", "(,1e30)"]),
    (
        &["daterange"],
        &["[2024-01-01,2024-01-31]", "[-infinity,)", "empty"],
    ),
    (&["tsrange"], &["[\"2020-01-01 00:00:00\",)", "empty"]),
    (
        &["tstzrange"],
        &["[2024-03-31 02:30 Europe/Berlin,infinity]"],
    ),
    (&["int4multirange"], &["{}", "{[5,6],[1,3),[3,4)}"]),
    (&["tstzmultirange"], &["{[2020-01-01 00:00+02,2020-01-02)}"]),
    (
        &["inet"],
        &["10.0.0.1", "10.0.0.1/8", "::1", "::ffff:10.0.0.1/100"],
    ),
    (&["cidr"], &["10/8", "10.0.0.1/32", "fe80::/10"]),
    (&["macaddr"], &["08-00-2B-01-02-03"]),
    (
        &["macaddr8"],
        &["08:00:2b:01:02:03", "08:00:2b:01:02:03:04:05"],
    ),
    (&["point"], &["(1.5,-0)", "(0.1,NaN)", "(Infinity,1e300)"]),
    (&["box[]"], &["{(1,1),(0,0);(3,3),(2,2)}", "{}"]),
    (&["pg_lsn"], &["FFFFFFFF/FFFFFFFF", "0/0"]),
];

fn edges(sql: &str) -> Vec<&'static str> {
    let of = EDGES.iter().find(|(names, _)| names.contains(&sql));
    of.map_or(Vec::new(), |(_, literals)| literals.to_vec())
}

fn random(sql: &str) -> Option<BoxedStrategy<String>> {
    let pattern = |pattern: &'static str| {
        let strategy = proptest::string::string_regex(pattern).expect("a pattern");
        Some(strategy.boxed())
    };
    match sql {
        "money" => pattern("-?[0-9]{1,15}\\.[0-9]{2}"),
        "inet" => {
            let four = (any::<[u8; 4]>(), 0..=32u8)
                .prop_map(|([a, b, c, d], bits)| format!("{a}.{b}.{c}.{d}/{bits}"));
            let six = (any::<[u16; 8]>(), 0..=128u8).prop_map(|(parts, bits)| {
                let parts = parts.map(|part| format!("{:x}", part & (part >> 3)));
                format!("{}/{bits}", parts.join(":"))
            });
            Some(Union::new([four.boxed(), six.boxed()]).boxed())
        }
        "macaddr" => pattern("[0-9a-f]{2}(:[0-9A-F]{2}){5}"),
        "macaddr8" => pattern("[0-9a-f]{2}(:[0-9A-F]{2}){7}"),
        "int4range" => Some(
            (any::<i32>(), 0..1000i32)
                .prop_map(|(low, width)| {
                    let low = low.min(i32::MAX - 1001);
                    format!("({low},{}]", low + width)
                })
                .boxed(),
        ),
        "numrange" => pattern("[\\[(]-[0-9]{1,20}\\.[0-9]{1,9},[0-9]{1,20}[\\])]"),
        "tsrange" => pattern("\\[19[0-9]{2}-0[1-9]-[12][0-8] 1[0-9]:00,20[0-9]{2}-01-01\\)"),
        "hstore" => pattern("(\"[a-zü ]{0,3}\"=>(NULL|\"[a-z',{ ]{0,5}\"),){0,4}"),
        "tsvector" => pattern("([a-zü]{1,5}:[1-9]{1,3}[A-D]? ){0,5}"),
        "address" => pattern("\\((\"[a-z, ü]{0,9}\")?,(-?[1-9][0-9]{0,8})?\\)"),
        "point" => pattern("\\(-?[0-9]{1,3}\\.[0-9]{1,12},-?[0-9]{1,3}e-[0-9]{1,2}\\)"),
        "xml" => pattern("(<[a-z]{1,3}/>|[a-z ü]{1,5}|&amp;|<a b=\"c\">d</a>){0,4}"),
        "pg_lsn" => pattern("[0-9A-F]{1,8}/[0-9A-F]{1,8}"),
        _ => None,
    }
}
