//! Debian packages without installing any: private apt configurations whose
//! lists and state lie in the cache. The machine's own apt configuration is
//! read for the mirrors' addresses and the proxy, and is never changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};

use crate::cache::Cache;
use crate::run::{output, quiet};

/// A set of suites that packages are chosen from together.
pub(crate) struct Release {
    /// The name of its directory in the cache.
    pub(crate) name: &'static str,
    /// Suites on the main mirror.
    main: &'static [&'static str],
    /// Suites on the security mirror.
    security: &'static [&'static str],
}

/// Debian 13: tools for host and guest.
pub(crate) const TRIXIE: Release = Release {
    name: "trixie",
    main: &["trixie"],
    security: &["trixie-security"],
};
/// Newer kernels and Rust releases for Debian 13, and nothing else.
pub(crate) const TRIXIE_BACKPORTS: Release = Release {
    name: "trixie-backports",
    main: &["trixie-backports"],
    security: &[],
};
/// Debian 12.
pub(crate) const BOOKWORM: Release = Release {
    name: "bookworm",
    main: &["bookworm"],
    security: &["bookworm-security"],
};
/// Debian 11: what is left of it.
pub(crate) const BULLSEYE: Release = Release {
    name: "bullseye",
    main: &[],
    security: &["bullseye-security"],
};

/// How old package lists may be before a download asks for them again: a
/// mirror drops old versions, and a fetch of several parts asks once.
const LISTS_LIFE: Duration = Duration::from_secs(600);

/// apt, seeing one release and an empty machine.
pub(crate) struct Apt {
    config: PathBuf,
}

impl Apt {
    /// Writes the configuration and gets the package lists.
    pub(crate) fn new(cache: &Cache, release: &Release) -> Result<Self> {
        let dir = cache.path("apt").join(release.name);
        for sub in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        // An empty status: nothing counts as installed, so that a package
        // comes with all that it depends on.
        fs::write(dir.join("status"), "")?;
        fs::write(dir.join("sources.list"), sources(release)?)?;
        let config = dir.join("apt.conf");
        let text = configuration(&dir)?;
        fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let apt = Self { config };
        let updated = dir.join("updated");
        let fresh = fs::metadata(&updated)
            .and_then(|meta| meta.modified())
            .is_ok_and(|time| {
                SystemTime::now()
                    .duration_since(time)
                    .is_ok_and(|d| d < LISTS_LIFE)
            });
        if !fresh {
            println!("getting the package lists of {}", release.name);
            quiet(
                apt.command("apt-get")
                    .args(["update", "-qq", "--error-on=any"]),
            )?;
            fs::write(&updated, "")?;
        }
        Ok(apt)
    }

    /// The versions of `package` there are, newest first.
    pub(crate) fn versions(&self, package: &str) -> Result<Vec<String>> {
        let text = output(self.command("apt-cache").args(["madison", package]))?;
        let version = |line: &str| line.split('|').nth(1).map(|field| field.trim().to_owned());
        Ok(text.lines().filter_map(version).collect())
    }

    /// The packages that installing `packages` takes, as `NAME=VERSION`.
    pub(crate) fn closure(&self, packages: &[String]) -> Result<Vec<String>> {
        let mut command = self.command("apt-get");
        command
            .args(["install", "-qq", "--simulate"])
            .args(packages);
        let text = output(&mut command)?;
        // Inst NAME (VERSION SOURCE [ARCHITECTURE])
        let package = |line: &str| {
            let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
            let version = rest.split(' ').next()?;
            Some(format!("{name}={version}"))
        };
        let found: Vec<_> = text.lines().filter_map(package).collect();
        ensure!(
            !found.is_empty(),
            "apt names no package for {packages:?}:\n{text}"
        );
        Ok(found)
    }

    /// The packages that `package` depends on.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let text = output(
            self.command("apt-cache")
                .args(["depends", "--important", package]),
        )?;
        let name = |line: &str| Some(line.split_once("Depends: ")?.1.to_owned());
        Ok(text.lines().filter_map(name).collect())
    }

    /// Downloads exactly `packages` into the directory `into`.
    pub(crate) fn download(&self, packages: &[String], into: &Path) -> Result<()> {
        if packages.len() < 5 {
            println!("downloading {}", packages.join(" "));
        } else {
            println!("downloading {} packages", packages.len());
        }
        fs::create_dir_all(into)?;
        let mut command = self.command("apt-get");
        quiet(
            command
                .args(["download", "-qq"])
                .args(packages)
                .current_dir(into),
        )
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config).env("LC_ALL", "C");
        command
    }
}

/// Unpacks every package in `debs` into `into`.
pub(crate) fn unpack(debs: &Path, into: &Path) -> Result<()> {
    for entry in fs::read_dir(debs)? {
        let deb = entry?.path();
        if deb.extension().is_some_and(|extension| extension == "deb") {
            quiet(
                Command::new("dpkg-deb")
                    .arg("--extract")
                    .arg(&deb)
                    .arg(into),
            )?;
        }
    }
    Ok(())
}

/// The private configuration's text, for state in `dir`.
fn configuration(dir: &Path) -> Result<String> {
    let dir = dir.to_str().context("the cache's path must be UTF-8")?;
    let mut text = format!(
        r#"Dir::Etc::sourcelist "{dir}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::main "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{dir}/state";
Dir::State::status "{dir}/status";
Dir::Cache "{dir}/cache";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Debug::NoLocking "true";
"#
    );
    // How the machine reaches its mirror: proxies, certificates, clock checks.
    for line in output(Command::new("apt-config").arg("dump"))?.lines() {
        if ["Acquire::http", "Acquire::Check-"]
            .iter()
            .any(|prefix| line.starts_with(prefix))
        {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

/// A `sources.list` for `release`.
fn sources(release: &Release) -> Result<String> {
    let keyring = ["gpg", "pgp"]
        .map(|extension| format!("/usr/share/keyrings/debian-archive-keyring.{extension}"))
        .into_iter()
        .find(|path| Path::new(path).exists())
        .context("there is no Debian keyring; install the package debian-archive-keyring")?;
    let mirrors = crate::mirror::Mirrors::find()?;
    let mut text = String::new();
    for (uri, suites) in [
        (&mirrors.main, release.main),
        (&mirrors.security, release.security),
    ] {
        for suite in suites {
            let Some(uri) = uri else {
                bail!(
                    "no mirror that has {suite} among apt's sources; name one in {}",
                    crate::mirror::VARIABLES
                );
            };
            text.push_str(&format!("deb [signed-by={keyring}] {uri} {suite} main\n"));
        }
    }
    Ok(text)
}
