//! What `--help` and `--help_tls` print.

use crate::config::{CIPHER_SUITE_NAMES, CURVE_NAMES};

pub(super) fn usage(program: &str) -> String {
    format!("Usage: {program} [options]\n       {program} store verify|inspect|accept-loss DIR\n\n{OPTIONS}")
}

pub(super) fn tls() -> String {
    let list = |names: &mut dyn Iterator<Item = &str>| names.map(|name| format!("    {name}\n")).collect::<String>();
    format!(
        "{TLS}\nCipher suites:\n{}\nCurves:\n{}",
        list(&mut CIPHER_SUITE_NAMES.iter().copied()),
        list(&mut CURVE_NAMES.iter().copied())
    )
}

const OPTIONS: &str = "\
Options may have one dash or two and win over the configuration file.

Server
  -a, --addr, --net HOST        address to listen on (0.0.0.0)
  -p, --port PORT               port for clients (4222); -1 takes a free one
  -n, --name, --server_name NAME
                                name of this server (its id)
      --client_advertise HOST   address that clients are told, host or host:port
  -c, --config FILE             configuration file
  -t                            check the configuration file and exit
  -P, --pid FILE                write the process id there
      --ports_file_dir DIR      write <program>_<pid>.ports there once listening
  -m, --http_port PORT          port for monitoring over HTTP
  -ms, --https_port PORT        port for monitoring over HTTPS
      --threads COUNT           worker threads (one per core)
  -sl, --signal COMMAND[=PID]   tell a running server to ldm, stop, quit, term, reopen or reload;
                                PID is a process id, the path of a pid file, or a prefix with *

Storage
  -js, --jetstream              switch JetStream on
  -sd, --store_dir DIR          directory for everything that is stored
  store verify DIR              check a store that no server uses, then exit
  store inspect DIR             list what a store holds, then exit
  store accept-loss DIR [--write]
                                list what the disk refuses to give of a store; with --write, put
                                zeros in its place and keep the files as they are in quarantine
                                exit codes: 0 all is well, 1 something is damaged, can not be read
                                or is in quarantine, 2 the store could not be looked at

Log
  -l, --log FILE                write to a file instead of stderr
      --log_size_limit BYTES    start a new file at this size
  -T, --logtime                 time in each line (on)
      --logtime_utc             in UTC instead of local time
  -s, --syslog                  write to the system's log
  -r, --remote_syslog ADDRESS   write to udp://host:port
  -D, --debug                   debug lines
  -V, --trace                   protocol lines
  -VV                           protocol lines of the system account as well
  -DV                           -D and -V
  -DVV                          -D and -VV
      --max_traced_msg_len N    bytes of a message that a protocol line shows (all)

Access
      --user NAME               user that clients have to give
      --pass PASSWORD           and the password
      --auth TOKEN              token that clients have to give
      --tls                     require TLS; clients stay anonymous
      --tlsverify               require TLS and a certificate of the client
      --tlscert FILE            certificate of this server
      --tlskey FILE             and its private key
      --tlscacert FILE          authority that signs certificates of clients

Cluster and profiling (accepted, without effect in this release)
      --cluster, --cluster_listen URL
      --cluster_name NAME
      --cluster_advertise HOST
      --routes URL,URL
      --no_advertise
      --connect_retries COUNT
      --profile PORT

Other
  -h, --help                    this text
      --help_tls                what the tls block of a configuration takes
  -v, --version                 version";

const TLS: &str = "\
TLS is configured in the tls block of the configuration file:

    tls {
        cert_file: \"server-cert.pem\"
        key_file:  \"server-key.pem\"
        ca_file:   \"ca.pem\"            # signs certificates of clients
        verify:    true                # clients need one
        verify_and_map: true           # and are the user it names
        timeout:   \"2s\"
        min_version: \"1.2\"
        handshake_first: auto          # true, false, auto, or a time to wait
        cipher_suites: [\"TLS_AES_128_GCM_SHA256\"]
        curve_preferences: [\"X25519\"]
    }
";
