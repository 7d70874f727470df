//! The grammar as a table. Outcomes and digests were verified against nats-server 2.15.1; rows where this server
//! departs from it are in their own tests and say so.

use proptest::prelude::*;

use super::digest::canonical;
use super::value::{Map, Node, Span, Value};
use super::{digest, parse_file, parse_text};

fn parse(text: &str) -> Result<Map, String> {
    parse_text(text.as_bytes(), &environment).map_err(|error| error.to_string())
}

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "PORT" => "4333",
        "LIST" => "[a, 2, {b: yes}]",
        "EMPTY" => "",
        "TEXT" => "\"with blank\"",
        "LOOP" => "$LOOP",
        "ONE" => "$TWO",
        "TWO" => "$ONE",
        "CHAIN" => "$PORT",
        "BROKEN" => "[",
        "SIZE" => "1kb",
        _ => return None,
    };
    Some(value.into())
}

#[track_caller]
fn check(rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        let found = match parse(text) {
            Ok(map) => canonical(&map).trim_end().to_string(),
            Err(error) => error,
        };
        assert_eq!(&found, expected, "for {text:?}");
    }
}

#[test]
fn keys_values_and_separators() {
    check(&[
        ("", "{}"),
        (" \n\t\n", "{}"),
        ("a = 1", r#"{"a":1}"#),
        ("a=1;b:2\nc 3,d = 4", r#"{"a":1,"b":2,"c":3,"d":4}"#),
        ("a: x # comment\nb: y // comment\n# all\n// all\n", r#"{"a":"x","b":"y"}"#),
        ("'a key': 1\n\"b key\" = 2", r#"{"a key":1,"b key":2}"#),
        ("a\n{\nb: 1\n}", r#"{"a":{"b":1}}"#),
        ("a {b 1, c 2; d 3\n e 4}", r#"{"a":{"b":1,"c":2,"d":3,"e":4}}"#),
        ("a { b { c { d: deep } } }", r#"{"a":{"b":{"c":{"d":"deep"}}}}"#),
        ("a = {\n\tb =\n\t1\n}", r#"{"a":{"b":1}}"#),
        ("a: 1\na: 2", r#"{"a":2}"#),
        ("A: 1\na: 2", r#"{"A":1,"a":2}"#),
        ("port=4222 / \nhost: x", r#"{"host":"x","port":4222}"#),
        ("key: url(http://x/y)", r#"{"key":"url(http://x/y)"}"#),
        ("a }", r#"{"a":""}"#),
        ("a = ", r#"{"a":""}"#),
        (
            "unicode: größe → ok",
            "Parse error on line 1: 'Expected a top-level value to end with a new line, comment or EOF, but got '→' instead.'",
        ),
        ("größe: →", r#"{"größe":"→"}"#),
    ]);
}

#[test]
fn json_and_braces_at_the_top() {
    check(&[
        (r#"{"a": 1, "b": {"c": [true, "x"]}}"#, r#"{"a":1,"b":{"c":[true,"x"]}}"#),
        ("{\n a: 1\n}\n", r#"{"a":1}"#),
        ("a: 1\n}", r#"{"a":1}"#),
        ("{a: 1}\n{b: 2}\nc: 3", r#"{"a":1,"b":2,"c":3}"#),
        ("{ { a: 1 } }", r#"{"a":1}"#),
        ("{\na: 1\n", r#"{"a":1}"#),
        ("{a: 1, # x\n b: 2 // y\n}", r#"{"a":1,"b":2}"#),
        ("{a: {b: 1}\n\n}", r#"{"a":{"b":1}}"#),
    ]);
}

#[test]
fn lists() {
    check(&[
        ("a = [1, 2 ,3 ]", r#"{"a":[1,2,3]}"#),
        ("a [\n x\n y # comment\n // comment\n\n z,\n]", r#"{"a":["x","y","z"]}"#),
        ("a = [ [ 1 , 2 ], [], {b: 1}\n{c: 2} ]", r#"{"a":[[1,2],[],{"b":1},{"c":2}]}"#),
        ("a = [ $PORT, \"$PORT\" ]", r#"{"a":[4333,"$PORT"]}"#),
        ("a = []", r#"{"a":[]}"#),
        ("a = [ x, ]", r#"{"a":["x"]}"#),
    ]);
}

#[test]
fn strings() {
    check(&[
        (r#"a = "x\ty\n\r\"\\ \x41""#, r#"{"a":"x\ty\n\r\"\\ A"}"#),
        (r#"a = "\xc3\xa9""#, r#"{"a":"é"}"#),
        (r"a = 'no \n escape'", r#"{"a":"no \\n escape"}"#),
        (r"a = bare\tescaped", r#"{"a":"bare\tescaped"}"#),
        ("a = \"two\nlines\"", r#"{"a":"two\nlines"}"#),
        ("a = x'", r#"{"a":"x"}"#),
        ("a = true'", r#"{"a":"true"}"#),
        ("a = <&>", r#"{"a":"\u003c\u0026\u003e"}"#),
        ("a = (\n  raw \"text\" $X )\n)\nb: 1", "{\"a\":\"\\n  raw \\\"text\\\" $X )\\n\",\"b\":1}"),
        ("a (\nx\n)", r#"{"a":"\nx\n)"}"#),
        ("a = include", r#"{"a":"include"}"#),
        ("include: x", r#"{"include":"x"}"#),
    ]);
}

#[test]
fn booleans_and_numbers() {
    check(&[
        (
            "a [true TRUE]",
            "Parse error on line 1: 'Expected an array value terminator \",\" or an array terminator \"]\", but got 'T' instead.'",
        ),
        ("a [true,TRUE,yes,On]", r#"{"a":[true,true,true,true]}"#),
        ("a [false,no,OFF,off ]", r#"{"a":[false,false,false,false]}"#),
        ("a [\"true\",'yes',trues]", r#"{"a":["true","yes","trues"]}"#),
        ("a [0,-1,007,-0 ]", r#"{"a":[0,-1,7,0]}"#),
        ("a [1.5,-0.25,1.0,22.2 ]", r#"{"a":[1.5,-0.25,1,22.2]}"#),
        ("a 0.0000001", r#"{"a":1e-7}"#),
        ("a 1234567890123456789012345.5", r#"{"a":1.2345678901234568e+24}"#),
        ("a [1k,1K,1kb,1ki,1KiB ]", r#"{"a":[1000,1000,1024,1024,1024]}"#),
        (
            "a [1m,1mb,1g,1gb,1t,1tib,1p,1e,1eb ]",
            r#"{"a":[1000000,1048576,1000000000,1073741824,1000000000000,1099511627776,1000000000000000,1000000000000000000,1152921504606846976]}"#,
        ),
        ("a -64kb", r#"{"a":-65536}"#),
        ("a [2s,10m0,5k7,1x,9-x]", "Parse error on line 1: 'All ISO8601 dates must be in full Zulu form.'"),
        ("a [2s,10m0,5k7,1x]", r#"{"a":["2s","10m0","5k7","1x"]}"#),
        ("a 127.0.0.1:4222", r#"{"a":"127.0.0.1:4222"}"#),
        ("a 127.0.0.1:-1", r#"{"a":"127.0.0.1:-1"}"#),
        ("a 0.0.0.0", r#"{"a":"0.0.0.0"}"#),
        ("a 4222-4223", "Parse error on line 1: 'Expected '-' in ISO8601 datetime, but found '2' instead.'"),
        ("a 2016-05-04T18:53:41Z", r#"{"a":"2016-05-04T18:53:41Z"}"#),
        ("a 9223372036854775807", r#"{"a":9223372036854775807}"#),
    ]);
}

#[test]
fn variables() {
    check(&[
        ("x = 5\na = $x", r#"{"a":5,"x":5}"#),
        ("x = {y: [1 ]}\na = $x", r#"{"a":{"y":[1]},"x":{"y":[1]}}"#),
        ("x = 1\nb {x = 2, a = $x}\nc = $x", r#"{"b":{"a":2,"x":2},"c":1,"x":1}"#),
        ("b {c {a = $x}}\nx = 1", "variable reference for 'x' on line 1 can not be found"),
        ("x = 1\nb {c [$x,{a $x}]}", r#"{"b":{"c":[1,{"a":1}]},"x":1}"#),
        ("a = $PORT", r#"{"a":4333}"#),
        ("a = $LIST", r#"{"a":["a",2,{"b":true}]}"#),
        ("a = $EMPTY", r#"{"a":""}"#),
        ("a = $TEXT", r#"{"a":"with blank"}"#),
        ("a = $CHAIN", r#"{"a":4333}"#),
        ("a = $SIZE", r#"{"a":1024}"#),
        ("a = \"$PORT\"", r#"{"a":"$PORT"}"#),
        (
            "a = 127.0.0.1:$PORT",
            "Parse error on line 1: 'Expected a top-level value to end with a new line, comment or EOF, but got '$' instead.'",
        ),
        ("a = $2a$11$ooo", r#"{"a":"$2a$11$ooo"}"#),
        ("a = [$2a$11$ooo.X/y]", r#"{"a":["$2a$11$ooo.X/y"]}"#),
        ("\n\na = $NOPE", "variable reference for 'NOPE' on line 3 can not be found"),
        (
            "a = $LOOP",
            "variable reference for 'LOOP' on line 1 could not be parsed: variable reference for 'LOOP' on line 1 could not be parsed: variable reference cycle for 'LOOP'",
        ),
        (
            "a = $ONE",
            "variable reference for 'ONE' on line 1 could not be parsed: variable reference for 'TWO' on line 1 could not be parsed: variable reference for 'ONE' on line 1 could not be parsed: variable reference cycle for 'ONE'",
        ),
    ]);
}

#[test]
fn a_variable_is_marked_where_it_is_defined() {
    let map = parse("x = 1\ny = 2\na { b: $x }").unwrap();
    let marked: Vec<_> = map.iter().filter(|(_, node)| node.is_variable).map(|(key, _)| key).collect();
    assert_eq!(marked, ["x"]);
}

#[test]
fn errors_of_the_grammar() {
    check(&[
        ("a", "config is invalid (:1:1)"),
        ("foo{}", "config is invalid (:1:5)"),
        ("x: 1\nfoo \n", "config is invalid (:3:1)"),
        ("=1", "Parse error on line 1: 'Unexpected key separator '=''"),
        ("a =\n1", "Parse error on line 2: 'Expected value but found new line'"),
        ("a = .5", "Parse error on line 1: 'Floats must start with a digit'"),
        ("a = -.5", "Parse error on line 1: 'Floats must start with a digit, not '.'.'"),
        ("a = -x", "Parse error on line 1: 'Expected a digit but got 'x'.'"),
        ("a = 1.x", "Parse error on line 1: 'Floats must have a digit after the '.', but got 'x' instead.'"),
        (
            "a = 1 2",
            "Parse error on line 1: 'Expected a top-level value to end with a new line, comment or EOF, but got '2' instead.'",
        ),
        ("a = [,]", "Parse error on line 1: 'Unexpected array value terminator ','.'"),
        (
            "a = [x",
            "Parse error on line 1: 'Expected an array value terminator \",\" or an array terminator \"]\", but got 'end of file' instead.'",
        ),
        ("a {b: ,}", "Parse error on line 1: 'Unexpected map value terminator \",\".'"),
        (
            "a {b: 1",
            "Parse error on line 1: 'Expected a map value terminator \",\" or a map terminator \"}\", but got 'end of file' instead.'",
        ),
        ("a {", "Parse error on line 1: 'Unexpected EOF processing map.'"),
        (
            "a {b: 1 ]",
            "Parse error on line 1: 'Expected a map value terminator \",\" or a map terminator \"}\", but got ']' instead.'",
        ),
        ("a {\n]", "Parse error on line 2: 'Unexpected array end ']' processing map.'"),
        ("a {b", "Parse error on line 1: 'Unexpected EOF processing map key.'"),
        (
            "a = \"\\q\"",
            "Parse error on line 1: 'Invalid escape character 'q'. Only the following escape characters are allowed: \\xXX, \\t, \\n, \\r, \\\", \\\\.'",
        ),
        ("a = \"\\x4g\"", "Parse error on line 1: 'Expected two hexadecimal digits after '\\x', but got 'g''"),
        ("a = 'open", "Parse error on line 1: 'Unexpected EOF.'"),
        ("a = (\nopen", "Parse error on line 2: 'Unexpected EOF processing block.'"),
        ("a = 2016-13-04T18:53:41Z", "expected Zulu formatted DateTime, but got '2016-13-04T18:53:41Z'"),
        ("a = 92233720368547758080", "integer '92233720368547758080' is out of the range"),
        ("include [x]", "Parse error on line 1: 'Expected include value but found start of an array'"),
        ("include 1x", "Parse error on line 1: 'Expected include value but found start of a number'"),
        ("include 'x", "Parse error on line 1: 'Unexpected EOF in quoted include'"),
        (
            "include no-such-file.conf",
            "error parsing include file 'no-such-file.conf', open no-such-file.conf: no such file or directory",
        ),
    ]);
}

/// nats-server drops the value, wraps around, misplaces it, or refuses the list. None of that helps anybody.
#[test]
fn departures_from_nats_server() {
    check(&[
        ("a = 1kbb", "expected integer, but got '1kbb'"),
        ("a = 10e", "integer '10e' is out of the range"),
        ("m { a }", "Parse error on line 1: 'Expected a value for key 'a' but found '}'.'"),
        ("a = [\"", "Parse error on line 1: 'Unexpected EOF.'"),
        ("a = [1,2]", r#"{"a":[1,2]}"#),
        ("a = [1k]", r#"{"a":[1000]}"#),
        ("/ x", "Parse error on line 1: 'Unexpected '/': comments start with '#' or '//'.'"),
        ("a = \"\\xff\"", "Parse error on line 1: 'Text is not valid UTF-8.'"),
        ("\u{feff}a = 1", r#"{"a":1}"#),
    ]);
}

#[test]
fn what_a_harness_writes() {
    check(&[(
        "listen: 127.0.0.1:-1\nserver_name: n1\npid_file: /tmp/x/nats.pid\njetstream {\n  store_dir: /tmp/js dir\n}\n",
        "Parse error on line 5: 'Expected a map value terminator \",\" or a map terminator \"}\", but got 'd' instead.'",
    )]);
    check(&[(
        "listen: 127.0.0.1:-1\nnet: ::1\njetstream: {max_mem: 1GB, store_dir: \"/tmp/a b\"}\naccounts {\n  A {\n    users [\n      {user: a, password: pwd, permission: {publish: [\"a.>\", b]}}\n      {\n        user: b\n        pass: c\n      }\n    ]\n    jetstream: enabled\n  }\n}\nresolver: MEMORY\n",
        r#"{"accounts":{"A":{"jetstream":"enabled","users":[{"password":"pwd","permission":{"publish":["a.\u003e","b"]},"user":"a"},{"pass":"c","user":"b"}]}},"jetstream":{"max_mem":1073741824,"store_dir":"/tmp/a b"},"listen":"127.0.0.1:-1","net":"::1","resolver":"MEMORY"}"#,
    )]);
}

#[test]
fn nesting_and_size_are_bounded() {
    let deep = format!("a = {}", "[".repeat(5000));
    assert!(parse(&deep).unwrap_err().contains("nested more than 100 deep"));
    let deep = "{".repeat(5000);
    assert!(parse(&deep).unwrap_err().contains("nested more than 100 deep"));

    let mut bomb = String::from("v0 = [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let reference = format!("$v{},", level - 1).repeat(10);
        bomb.push_str(&format!("v{level} = [{reference}]\n"));
    }
    assert!(parse(&bomb).unwrap_err().contains("too large"));
}

#[test]
fn includes_nest_and_are_relative_to_their_file() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    };
    let main = write("main.conf", "a: 1\ninclude 'sub/one.conf'\nb { include \"./sub/two.conf\" }\nz: $two\n");
    write("sub/one.conf", "include two.conf\none: 1\n");
    write("sub/two.conf", "two: 2\n");
    let map = parse_file(&main, &environment).unwrap();
    assert_eq!(canonical(&map), "{\"a\":1,\"b\":{\"two\":2},\"one\":1,\"two\":2,\"z\":2}\n");
    let span = &map.get("two").unwrap().span;
    assert_eq!((span.file.as_ref(), span.line), (dir.path().join("sub/two.conf").to_str().unwrap(), 1));

    let cycle = write("cycle.conf", "include cycle.conf\n");
    let error = parse_file(&cycle, &environment).unwrap_err().to_string();
    assert!(error.contains("include 'cycle.conf' is nested more than 32 files deep"), "{error}");

    let broken = write("broken.conf", "include sub/bad.conf\n");
    write("sub/bad.conf", "x: 1\ny: [\n");
    let error = parse_file(&broken, &environment).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "error parsing include file 'sub/bad.conf', Parse error on line 3: 'Expected an array value terminator \
             \",\" or an array terminator \"]\", but got 'end of file' instead.' ({}:3:1)",
            dir.path().join("sub/bad.conf").display()
        )
    );
}

/// Printed by `nats-server -t` 2.15.1 for the same text.
#[test]
fn digests_are_those_of_nats_server() {
    for (text, expected) in [
        ("port: -1\nsystem_account: XX\n", "sha256:f7a7ff362786c16ec4f621ce6ecedf0ec8937863075d45f8296afa78362df209"),
        ("tls {}", "sha256:95df13b78f4693a772a4f71682e038eaa354156e9748518c69c325de14b71b90"),
        ("port: -1\nno_auth_user: a\n", "sha256:252d8d41d074c19530245eddfb5d06fc18cdb863bdebe76836e2c4532d90bc9b"),
    ] {
        assert_eq!(digest(&parse(text).unwrap()), expected, "{text}");
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::Integer),
        any::<bool>().prop_map(Value::Bool),
        (-1_000_000i64..1_000_000).prop_map(|n| Value::Float(n as f64 / 64.0 + 0.015_625)),
        "[ -~\n\té→]{0,12}".prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5)
                .prop_map(|items| Value::List(items.into_iter().map(bare_node).collect())),
            prop::collection::vec(("[a-z]{1,6}", inner), 0..5).prop_map(|entries| {
                let mut map = Map::default();
                for (key, value) in entries {
                    map.insert(key, bare_node(value));
                }
                Value::Map(map)
            }),
        ]
    })
}

fn bare_node(value: Value) -> Node {
    Node { value, span: Span { file: "".into(), line: 0, column: 0 }, is_variable: false }
}

/// Writes a value in the syntax of the file, varying what may be varied.
fn write(value: &Value, style: u8, out: &mut String) {
    let separator = [" ", ": ", "=", " = "][usize::from(style % 4)];
    let terminator = [",", "\n", ",\n"][usize::from(style % 3)];
    match value {
        Value::String(text) | Value::DateTime(text) => {
            out.push('"');
            for c in text.chars() {
                match c {
                    '"' => out.push_str("\\\""),
                    '\\' => out.push_str("\\\\"),
                    '\n' if style.is_multiple_of(2) => out.push_str("\\n"),
                    c => out.push(c),
                }
            }
            out.push('"');
        }
        Value::Integer(number) => out.push_str(&number.to_string()),
        Value::Float(number) => out.push_str(&format!("{number:?}")),
        Value::Bool(flag) => {
            let words = if *flag { ["true", "yes", "ON"] } else { ["false", "No", "off"] };
            out.push_str(words[usize::from(style % 3)]);
        }
        Value::List(items) => {
            out.push('[');
            for item in items {
                write(&item.value, style.wrapping_mul(7).wrapping_add(1), out);
                out.push_str(terminator);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (key, node) in map.iter() {
                out.push_str(key);
                out.push_str(separator);
                write(&node.value, style.wrapping_mul(5).wrapping_add(3), out);
                out.push_str(terminator);
            }
            out.push('}');
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_written_reads_back(value in any_value(), style in any::<u8>()) {
        let mut text = String::from("value = ");
        write(&value, style, &mut text);
        text.push('\n');
        let map = parse(&text).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
        prop_assert_eq!(&map.get("value").unwrap().value, &value, "{}", text);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_text(&bytes, &environment);
    }

    #[test]
    fn arbitrary_syntax_never_panics(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "a", "b", "include", " ", "\n", "=", ":", ",", ";", "{", "}", "[", "]", "(", ")", "\"", "'", "\\",
                "\\x4", "$", "$a", "$LIST", "$LOOP", "1", "-", ".", "k", "2016-", "T", "#", "//", "/", "é", "true",
            ]),
            0..40,
        )
    ) {
        if let Ok(map) = parse(&parts.concat()) {
            let _ = canonical(&map);
        }
    }
}
