//! The Debian mirrors this machine uses, read from apt's own sources in both
//! of their formats. Reads only; pure but for the files.

use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// The environment variables that go before apt's sources.
pub(crate) const VARIABLES: &str = "SKBCAP_DEBIAN_MIRROR and SKBCAP_DEBIAN_SECURITY_MIRROR";

/// Where packages come from.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Mirrors {
    /// The mirror of the releases.
    pub(crate) main: Option<String>,
    /// The mirror of the security updates.
    pub(crate) security: Option<String>,
}

impl Mirrors {
    /// Reads the environment, then apt's sources.
    pub(crate) fn find() -> Result<Self> {
        let mut mirrors = Self {
            main: env::var("SKBCAP_DEBIAN_MIRROR").ok(),
            security: env::var("SKBCAP_DEBIAN_SECURITY_MIRROR").ok(),
        };
        let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
        if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
            let mut parts: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
            parts.sort();
            files.extend(parts);
        }
        for file in files.iter().filter(|file| file.exists()) {
            let text = fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("list") => mirrors.read_lines(&text),
                Some("sources") => mirrors.read_stanzas(&text),
                _ => {}
            }
        }
        Ok(mirrors)
    }

    /// The one-line format: `deb [options] URI SUITE COMPONENT…`.
    fn read_lines(&mut self, text: &str) {
        for line in text.lines() {
            let Some(rest) = line.trim().strip_prefix("deb ") else {
                continue;
            };
            let rest = rest.trim_start();
            let rest = match rest.strip_prefix('[') {
                Some(options) => options.split_once(']').map_or("", |(_, rest)| rest),
                None => rest,
            };
            let mut words = rest.split_whitespace();
            if let (Some(uri), Some(suite)) = (words.next(), words.next()) {
                let components: Vec<_> = words.collect();
                self.add(uri, suite, &components);
            }
        }
    }

    /// The deb822 format: stanzas of `Field: value`.
    fn read_stanzas(&mut self, text: &str) {
        let uncommented: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        for stanza in uncommented.split(|line| line.trim().is_empty()) {
            let field = |name: &str| {
                let mut words = Vec::new();
                let mut inside = false;
                for line in stanza {
                    let value = if line.starts_with([' ', '\t']) {
                        Some(*line).filter(|_| inside)
                    } else {
                        let (found, value) = line.split_once(':').unwrap_or((line, ""));
                        inside = found.eq_ignore_ascii_case(name);
                        Some(value).filter(|_| inside)
                    };
                    words.extend(value.unwrap_or("").split_whitespace());
                }
                words
            };
            if !field("Types").contains(&"deb") || field("Enabled") == ["no"] {
                continue;
            }
            if let Some(uri) = field("URIs").first() {
                for suite in field("Suites") {
                    self.add(uri, suite, &field("Components"));
                }
            }
        }
    }

    /// Takes a source for what its suite says it is; the first one stays.
    fn add(&mut self, uri: &str, suite: &str, components: &[&str]) {
        const RELEASES: [&str; 9] = [
            "bullseye",
            "bookworm",
            "trixie",
            "forky",
            "duke",
            "oldstable",
            "stable",
            "testing",
            "sid",
        ];
        if !components.contains(&"main") {
            return;
        }
        let release = suite.split('-').next().unwrap_or(suite);
        if !RELEASES.contains(&release) {
            return;
        }
        let place = match suite.strip_prefix(release) {
            Some("-security") => &mut self.security,
            Some("" | "-updates" | "-backports") => &mut self.main,
            _ => return,
        };
        place.get_or_insert_with(|| uri.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::Mirrors;

    fn both() -> Mirrors {
        Mirrors {
            main: Some("http://mirror.example/debian".to_owned()),
            security: Some("http://mirror.example/security".to_owned()),
        }
    }

    #[test]
    fn one_line_format() {
        let mut found = Mirrors::default();
        found.read_lines(
            "# deb http://commented.example/debian bookworm main\n\
             deb http://other.example/linux bookworm stable\n\
             deb-src http://source.example/debian bookworm main\n\
             deb [arch=amd64 signed-by=/k] http://mirror.example/debian bookworm main contrib\n\
             deb http://mirror.example/security bookworm-security main\n",
        );
        assert_eq!(found, both());
    }

    #[test]
    fn deb822_format() {
        let mut found = Mirrors::default();
        found.read_stanzas(
            "Types: deb\nEnabled: no\nURIs: http://off.example/debian\nSuites: trixie\n\
             Components: main\n\n\
             Types: deb deb-src\n# a comment\nURIs: http://mirror.example/debian\n\
             Suites: trixie\n trixie-updates\nComponents: main\n\n\n\
             types: deb\nuris: http://mirror.example/security\nSuites: trixie-security\n\
             Components: main\n",
        );
        assert_eq!(found, both());
    }

    #[test]
    fn other_peoples_suites_are_not_debian() {
        let mut found = Mirrors::default();
        found.read_lines("deb http://db.example/apt bookworm-pgdg main\n");
        assert_eq!(found, Mirrors::default());
    }
}
