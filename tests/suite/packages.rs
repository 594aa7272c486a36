//! The packages of `board/` and the files one copies from there, as far as they can be had
//! without the build systems that read them.

use crate::harness::{project, run_ok, ws2cgi};
use std::fs::{create_dir_all, read_link, read_to_string, write};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const BUILDROOT: &str = "board/buildroot/package/ws2cgi/ws2cgi.mk";
const OPENWRT: &str = "board/openwrt/ws2cgi/Makefile";

fn text(file: &str) -> String {
    read_to_string(project(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

#[test]
fn every_package_is_of_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    for (file, line) in [
        (BUILDROOT, format!("WS2CGI_VERSION = {version}")),
        (OPENWRT, format!("PKG_VERSION:={version}")),
    ] {
        assert!(text(file).lines().any(|l| l == line), "{file}: {line}");
    }
}

/// The options in a file, those in its comments too.
fn options(text: &str) -> Vec<String> {
    let words = text.lines().flat_map(|line| line.split([' ', '"', '=']));
    let words = words.map(|word| word.trim_end_matches(['.', ':', ',']));
    let options = words.filter(|word| word.starts_with("--") && word.len() > 2);
    options.map(str::to_owned).collect()
}

#[test]
fn every_option_that_a_board_is_given_exists() {
    let help = Command::new(ws2cgi()).arg("--help").output().expect("run");
    let help = String::from_utf8(help.stdout).expect("text");
    for (file, at_least) in [
        ("board/uclinux/rc", 8),
        ("board/uclinux/inittab", 6),
        ("board/openwrt/ws2cgi/files/ws2cgi.init", 1),
        ("board/openwrt/ws2cgi/files/ws2cgi.default", 2),
        ("board/init.d/ws2cgi", 3),
        ("board/boa.conf", 3),
    ] {
        let options = options(&text(file));
        assert!(options.len() >= at_least, "{file}: {options:?}");
        for option in options {
            let known = help.split_whitespace().any(|word| word == option);
            assert!(known, "{file}: {option}");
        }
    }
}

#[test]
fn what_mdev_is_to_do_is_of_its_form() {
    let mut rules = 0;
    for line in text("board/mdev.conf").lines() {
        if line.starts_with('#') {
            continue;
        }
        rules += 1;
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, owner, mode, command @ ..] = &words[..] else {
            panic!("{line}");
        };
        assert!(owner.contains(':') && mode.parse::<u16>().is_ok(), "{line}");
        // `@` after making the device, `$` before removing it, `*` both.
        let known = command
            .first()
            .is_none_or(|c| c.starts_with(['@', '$', '*']));
        assert!(known, "{line}");
    }
    assert_eq!(rules, 2);
}

#[test]
fn the_openwrt_script_starts_the_daemon_under_procd() {
    let folder = TempDir::new().expect("a folder");
    let defaults = folder.path().join("ws2cgi");
    write(&defaults, text("board/openwrt/ws2cgi/files/ws2cgi.default")).expect("defaults");
    let script = text("board/openwrt/ws2cgi/files/ws2cgi.init");
    let script = script.replace("/etc/default/ws2cgi", &defaults.display().to_string());
    let procd = "procd_open_instance() { :; }; procd_close_instance() { :; }\n\
        procd_set_param() { echo \"$@\"; }\n";
    let mut shell = Command::new("busybox");
    shell.args(["sh", "-euc", &format!("{procd}{script}\nstart_service")]);
    let said = String::from_utf8(run_ok(&mut shell).stdout).expect("text");
    let command = said.lines().next().expect("a line");
    assert_eq!(
        command,
        "command /usr/sbin/ws2cgi --handlers /usr/lib/ws-bin --listen 0.0.0.0:8081 \
         --origin http://192.168.1.1"
    );
}

/// Runs `install-here` of a makefile, where the package's file is.
fn make(makefile: &Path, text: &str, package: &str) {
    write(makefile, text).expect("a makefile");
    let mut make = Command::new("make");
    make.arg("-f").arg(makefile).arg("install-here");
    run_ok(make.current_dir(project(package).parent().expect("a folder")));
}

fn links(root: &Path, links: &[(&str, &str)]) {
    for (name, target) in links {
        let link = read_link(root.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(link, Path::new(target), "{name}");
    }
}

#[test]
fn the_buildroot_package_installs_all_that_belongs_to_it() {
    let folder = TempDir::new().expect("a folder");
    let at = folder.path().display();
    let binary = folder.path().join("target/cpu/release");
    create_dir_all(&binary).expect("folder");
    write(binary.join("ws2cgi"), "#!/bin/true\n").expect("binary");
    run_ok(
        Command::new("cp")
            .arg("-r")
            .args([project("board"), folder.path().join("board")]),
    );
    // What Buildroot would define around it.
    let package = project(BUILDROOT);
    let package = package.display();
    let rules = format!(
        "TARGET_DIR = {at}/root\nRUSTC_TARGET_NAME = cpu\nINSTALL = install\ncargo-package =\n\
         qstrip = $(subst \",,$(1))\nBR2_PACKAGE_WS2CGI_CGI_BIN = \"/usr/lib/cgi-bin\"\n\
         include {package}\ninstall-here: {at}/stamp\n{at}/stamp:\n\
         \t$(WS2CGI_INSTALL_TARGET_CMDS)\n\t$(WS2CGI_INSTALL_INIT_SYSV)\n"
    );
    make(&folder.path().join("Makefile"), &rules, BUILDROOT);
    let root = folder.path().join("root");
    links(
        &root,
        &[
            ("usr/bin/ws-send", "../sbin/ws2cgi"),
            ("usr/lib/cgi-bin/nph-ws", "/usr/sbin/ws2cgi"),
            ("usr/lib/cgi-bin/ws-post", "/usr/sbin/ws2cgi"),
            ("usr/lib/cgi-bin/ws-push", "/usr/sbin/ws2cgi"),
        ],
    );
    assert!(root.join("usr/sbin/ws2cgi").is_file());
    assert!(root.join("etc/init.d/S60ws2cgi").is_file());
    assert!(root.join("usr/lib/ws-bin").is_dir());
}

#[test]
fn the_openwrt_package_takes_its_sources_and_installs_all_that_belongs_to_it() {
    let folder = TempDir::new().expect("a folder");
    let at = folder.path().display();
    let rust = folder.path().join("feeds/packages/lang/rust");
    create_dir_all(&rust).expect("folder");
    create_dir_all(folder.path().join("installed/bin")).expect("folder");
    write(folder.path().join("installed/bin/ws2cgi"), "").expect("binary");
    // What OpenWrt would define around it.
    for (name, text) in [
        (
            "rules.mk",
            format!("INCLUDE_DIR = {at}\nRUST_ARCH_DEPENDS = @cpu\n"),
        ),
        (
            "feeds/packages/lang/rust/rust-package.mk",
            "RustBinPackage =\n".to_owned(),
        ),
        (
            "package.mk",
            format!(
                "PKG_BUILD_DIR = {at}/build\nPKG_INSTALL_DIR = {at}/installed\nCP = cp -fpR\n\
                 LN = ln -sf\nINSTALL_DIR = install -d\nINSTALL_BIN = install -m 755\n\
                 INSTALL_CONF = install -m 644\ndefine BuildPackage\ninstall-here:\n\
                 \t$$(Build/Prepare)\n\t$$(call Package/$(1)/install,{at}/root)\nendef\n"
            ),
        ),
    ] {
        write(folder.path().join(name), text).expect("write");
    }
    let rules = format!("TOPDIR = {at}\ninclude {}\n", project(OPENWRT).display());
    make(&folder.path().join("Makefile"), &rules, OPENWRT);
    // Cargo finds all that it is told of.
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]);
    run_ok(cargo.current_dir(folder.path().join("build")));
    let root = folder.path().join("root");
    links(
        &root,
        &[
            ("usr/bin/ws-send", "../sbin/ws2cgi"),
            ("www/cgi-bin/nph-ws", "/usr/sbin/ws2cgi"),
            ("www/cgi-bin/ws-post", "/usr/sbin/ws2cgi"),
            ("www/cgi-bin/ws-push", "/usr/sbin/ws2cgi"),
        ],
    );
    for file in ["usr/sbin/ws2cgi", "etc/init.d/ws2cgi", "etc/default/ws2cgi"] {
        assert!(root.join(file).is_file(), "{file}");
    }
}
