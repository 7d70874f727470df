"""Exit codes and what is said where: scripts look at both."""

import pytest


@pytest.mark.parametrize("flags", [["-v"], ["--version"], ["version"]])
def test_the_version_goes_to_standard_output(run, flags):
    code, out, err = run(*flags)
    assert (code, err) == (0, "") and "v2.15.1" in out


@pytest.mark.parametrize("flags", [["-h"], ["--help"], ["help"], ["--help_tls"]])
def test_help_goes_to_standard_output(run, flags):
    code, out, err = run(*flags)
    assert (code, err) == (0, "") and len(out.splitlines()) > 5


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--nope"], "flag provided but not defined: -nope"),
        (["-p"], "flag needs an argument: -p"),
        (["-p", "x"], 'invalid value "x" for flag -p: parse error'),
        (["-log_size_limit=x"], 'invalid value "x" for flag -log_size_limit: parse error'),
    ],
)
def test_a_flag_that_is_wrong_is_named_on_standard_error(run, flags, said):
    # nats-server prints its usage and exits with 0 then; we exit with 2, as Go programs do elsewhere.
    _, _, err = run(*flags)
    assert said in err


@pytest.mark.parametrize(
    "flags, said",
    [
        (["surplus"], 'unrecognized command: "surplus"'),
        (["-t"], "must specify [-c, --config] option to check configuration file syntax"),
        (["-c", "missing.conf"], "open missing.conf: no such file or directory"),
        (["-c", "missing.conf", "-t"], "missing.conf: no such file or directory"),
        (["--tls"], "TLS Server certificate must be present and valid"),
        (["--tlscert", ""], "TLS Server certificate must be present and valid"),
        (["--routes", "nats://x:1"], "solicited routes require cluster capabilities, e.g. --cluster"),
        (["--signal", "nope=1"], 'unknown signal "nope"'),
        (["--signal", "reload=99999999"], "no such process"),
        (["-a", "127.0.0.1", "-p", "-1", "-l", "missing/log"], "open missing/log"),
        (["-a", "127.0.0.1", "-p", "-1", "-P", "missing/pid"], "Could not write pidfile: open missing/pid: no such file"),
        (["-a", "192.0.2.1", "-p", "-1"], "Error listening on port: 192.0.2.1:0"),
    ],
)
def test_what_prevents_a_start_exits_with_1_and_says_why(run, flags, said):
    code, out, err = run(*flags)
    assert (code, out) == (1, "") and said in err


def test_a_configuration_is_checked_and_named(run, tmp_path):
    (tmp_path / "good.conf").write_text("port: 4222\n")
    code, out, err = run("-c", "good.conf", "-t")
    assert (code, out) == (0, "")
    assert "good.conf is valid (sha256:" in err
    (tmp_path / "bad.conf").write_text("port: 4222\nnonsense: 1\n")
    code, _, err = run("-c", "bad.conf", "-t")
    assert code == 1 and 'bad.conf:2:1: unknown field "nonsense"' in err


@pytest.mark.parametrize("flag", ["-c", "-l", "-P", "-sd", "--ports_file_dir"])
def test_a_path_that_is_empty_is_as_good_as_none(serve, flag):
    """What a script makes of a variable that is not set."""
    assert serve(None, arguments=[flag, ""]).process.poll() is None


@pytest.mark.parametrize(
    "config, said",
    [
        ("authorization { user: a, password: b }", "Plaintext passwords detected, use nkeys or bcrypt"),
        ("max_payload: 9MB", "Maximum payloads over 8.00 MB are generally discouraged"),
    ],
)
def test_what_is_unwise_is_warned_about(serve, config, said):
    assert said in serve(config + "\n").log()


@pytest.mark.parametrize(
    "accounts, said",
    [
        ("S { jetstream: enabled } }\nsystem_account: S", "Not allowed to enable JetStream on the system account"),
        (
            "A { jetstream { max_file: 600 } }\n B { jetstream { max_file: 500 } } }",
            "insufficient storage resources available (10047)",
        ),
        ("A { jetstream { max_mem: 2000 } } }", "insufficient memory resources available (10028)"),
    ],
)
def test_accounts_get_no_more_than_there_is(run, tmp_path, accounts, said):
    store = "jetstream { store_dir: data, max_mem: 1000, max_file: 1000 }"
    (tmp_path / "x.conf").write_text(f"port: -1\n{store}\naccounts {{\n {accounts}\n")
    code, _, err = run("-c", "x.conf")
    assert code == 1 and said in err
