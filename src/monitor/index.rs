//! `/`: links to the pages.

use hyper::StatusCode;

use super::Answer;

const LINKS: &[(&str, &str)] = &[
    ("/varz", "General"),
    ("/jsz", "JetStream"),
    ("/connz", "Connections"),
    ("/accountz", "Accounts"),
    ("/accstatz", "Account Stats"),
    ("/subsz", "Subscriptions"),
    ("/routez", "Routes"),
    ("/leafz", "LeafNodes"),
    ("/gatewayz", "Gateways"),
    ("/healthz", "Health Probe"),
    ("/metrics", "Metrics"),
];

pub(super) fn page(base_path: &str) -> Answer {
    let links: String = LINKS
        .iter()
        .map(|(path, name)| format!("    <li><a href=\"{}{path}\">{name}</a>\n", escape(base_path)))
        .collect();
    let body = format!(
        "<!doctype html>\n<html lang=\"en\">\n  <head>\n    <meta charset=\"utf-8\">\n    <title>Headwater</title>\n  \
         </head>\n  <body>\n  <h1>Headwater {}</h1>\n  <ul>\n{links}  </ul>\n  </body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    );
    Answer { status: StatusCode::OK, kind: "text/html; charset=utf-8", body: body.into_bytes() }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stand_below_the_base_path() {
        let page = String::from_utf8(page("/a\"b").body).unwrap();
        assert!(page.contains("href=\"/a&quot;b/varz\""), "{page}");
        assert_eq!(page.matches("<li>").count(), LINKS.len());
    }
}
