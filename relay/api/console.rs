//! The console: the files that `make console` built, embedded in the binary, and the page itself for
//! every path that is none of the API's, so that a reload or a link finds the place in it again.
//!
//! A build without Node has no such files; then a page says how to make them. In debug builds
//! the files are read from their folder at each request instead, as `rust-embed` does it.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{Embed, EmbeddedFile};

use super::problem;

#[derive(Embed)]
#[folder = "console/dist/"]
#[allow_missing = true]
struct Built;

/// The page, which asks for everything else.
const PAGE: &str = "index.html";
/// Its files with the hash of their content in their names.
const HASHED: &str = "assets/";

/// Nothing but our own files: no inline scripts, no inline styles, nobody else's servers, no frames.
/// Images may also be `data:`, since a component library draws some of its signs so.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const NOT_BUILT: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>Tidegate: no console in this build</title>
<h1>This relay was built without its console</h1>
<p>The relay works; only these pages are missing. To have them, install Node 20.19 or newer and run</p>
<pre>make console
cargo build --release</pre>
<p>Until then there is the command line: <code>tidegate-relay --help</code>. Packages always contain
the console.</p>
</html>
";

/// The answer to what no route of the API takes.
pub(super) async fn serve(request: Request) -> Response {
    let path = request.uri().path();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if path.starts_with("/api/") || !reads {
        return problem::no_route().await.into_response();
    }
    answer(path, request.headers(), Built::get).await
}

/// `find` knows the built files by their paths within the folder.
async fn answer(
    path: &str,
    asked: &HeaderMap,
    find: impl Fn(&str) -> Option<EmbeddedFile>,
) -> Response {
    let name = path.trim_start_matches('/');
    let is_hashed = name.starts_with(HASHED);
    let found = find(name).map(|_| name);
    let name = match found {
        Some(name) => name,
        // An old page asks for files of an older build: to be given the page would confuse it.
        None if is_hashed => return problem::no_route().await.into_response(),
        None => PAGE,
    };
    let (encoding, file) = smallest(name, asked, find);
    let Some(file) = file else {
        let kind = [(header::CONTENT_TYPE, media_type(PAGE))];
        return hardened((StatusCode::NOT_FOUND, kind, NOT_BUILT).into_response());
    };
    let tag = format!("\"{}\"", hex(&file.metadata.sha256_hash()));
    let keep = match is_hashed {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    let known = asked.get(header::IF_NONE_MATCH);
    let is_known = known.is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = Response::builder()
        .header(header::CONTENT_TYPE, media_type(name))
        .header(header::CACHE_CONTROL, keep)
        .header(header::ETAG, tag)
        .header(header::VARY, "accept-encoding");
    if let Some(encoding) = encoding {
        response = response.header(header::CONTENT_ENCODING, encoding);
    }
    let built = match is_known {
        true => response
            .status(StatusCode::NOT_MODIFIED)
            .body(Body::empty()),
        false => response.body(Body::from(file.data)),
    };
    // Names, kinds and hashes are all ASCII, so the headers are valid.
    let response = built.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response());
    hardened(response)
}

/// The form of a file that is sent: compressed beforehand, where the browser takes that.
fn smallest(
    name: &str,
    asked: &HeaderMap,
    find: impl Fn(&str) -> Option<EmbeddedFile>,
) -> (Option<&'static str>, Option<EmbeddedFile>) {
    let takes = asked
        .get(header::ACCEPT_ENCODING)
        .and_then(|takes| takes.to_str().ok())
        .unwrap_or_default();
    for (encoding, ending) in [("br", "br"), ("gzip", "gz")] {
        if accepts(takes, encoding)
            && let Some(file) = find(&format!("{name}.{ending}"))
        {
            return (Some(encoding), Some(file));
        }
    }
    (None, find(name))
}

/// Whether `Accept-Encoding` names this one without refusing it (RFC 9110, section 12.5.3).
fn accepts(takes: &str, encoding: &str) -> bool {
    takes.split(',').any(|one| {
        let mut parts = one.split(';').map(str::trim);
        let is_named = parts.next().is_some_and(|name| name == encoding);
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        let weight = weight.map_or(Ok(1.0), str::parse::<f32>);
        is_named && weight.is_ok_and(|weight| weight > 0.0)
    })
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

fn hardened(mut response: Response) -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in headers {
        let value = header::HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use axum::body::to_bytes;
    use rust_embed::Metadata;

    use super::*;

    /// A build of these files, each holding its own name.
    fn built(names: &'static [&'static str]) -> impl Fn(&str) -> Option<EmbeddedFile> {
        move |asked| {
            let name = names.iter().find(|name| **name == asked)?;
            let mut hash = [0; 32];
            hash[0] = name.len() as u8;
            Some(EmbeddedFile {
                data: Cow::Borrowed(name.as_bytes()),
                metadata: Metadata::__rust_embed_new(hash, None, None),
            })
        }
    }

    const FILES: &[&str] = &[
        "index.html",
        "assets/a-1.js",
        "assets/a-1.js.gz",
        "assets/a-1.js.br",
        "favicon.svg",
    ];

    async fn body(response: Response) -> String {
        let bytes = to_bytes(response.into_body(), 1 << 16).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn asking(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[tokio::test]
    async fn every_path_that_is_no_file_is_the_page() {
        for path in ["/", "/syncs/blog", "/syncs/blog.v2/runs", "/setup"] {
            let page = answer(path, &HeaderMap::new(), built(FILES)).await;
            assert_eq!(page.status(), StatusCode::OK, "{path}");
            assert_eq!(page.headers()["cache-control"], "no-cache");
            assert_eq!(page.headers()["content-security-policy"], POLICY);
            assert_eq!(body(page).await, "index.html");
        }
        let icon = answer("/favicon.svg", &HeaderMap::new(), built(FILES)).await;
        assert_eq!(icon.headers()["content-type"], "image/svg+xml");
        let older = answer("/assets/a-0.js", &HeaderMap::new(), built(FILES)).await;
        assert_eq!(older.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn hashed_files_are_kept_for_ever_and_sent_compressed_to_whoever_takes_that() {
        let sent = |takes: &'static str| async move {
            let asked = asking(header::ACCEPT_ENCODING, takes);
            let file = answer("/assets/a-1.js", &asked, built(FILES)).await;
            assert_eq!(
                file.headers()["content-type"],
                "text/javascript; charset=utf-8"
            );
            let keep = file.headers()["cache-control"].to_str().unwrap();
            assert!(keep.contains("immutable"), "{keep}");
            body(file).await
        };
        assert_eq!(sent("gzip, deflate, br, zstd").await, "assets/a-1.js.br");
        assert_eq!(sent("gzip;q=0.5, br;q=0").await, "assets/a-1.js.gz");
        assert_eq!(sent("identity").await, "assets/a-1.js");
    }

    #[tokio::test]
    async fn what_the_browser_has_is_not_sent_again() {
        let first = answer("/", &HeaderMap::new(), built(FILES)).await;
        let tag = first.headers()["etag"].to_str().unwrap().to_owned();
        let again = answer("/", &asking(header::IF_NONE_MATCH, &tag), built(FILES)).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(body(again).await, "");
    }

    #[tokio::test]
    async fn build_without_the_console_says_how_to_make_it() {
        let page = answer("/", &HeaderMap::new(), built(&[])).await;
        assert_eq!(page.status(), StatusCode::NOT_FOUND);
        assert!(body(page).await.contains("make console"));
    }
}
