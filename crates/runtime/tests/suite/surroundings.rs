//! What a worker in its sandbox finds around it.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::PathBuf,
    process::Command,
};

use base::{ByteSize, Redacted};
use runtime::{Egress, ExitReason, LogStream, Mount, MountSource, PythonEnvironment, ResolvedStart, mounts};
use types::ErrorCode;

use crate::support::{Behaviour, Host, Kind, command, is_root, shell, start, worker};

/// Runs a start to its end, and returns what it wrote.
async fn run(host: &mut Host, start: ResolvedStart, expected: ExitReason) -> Vec<String> {
    let name = start.worker.clone();
    host.driver.start(start).await.unwrap();
    let end = host.end_of(&name).await;
    let lines = host.lines(&name, 0).await;
    assert_eq!(end, expected, "{lines:#?}");
    lines
}

async fn run_shell(script: &str) -> Vec<String> {
    run(&mut Host::new(Kind::Sandbox), start("shell", shell(script)), ExitReason::Code(0)).await
}

#[tokio::test]
async fn the_environment_is_what_was_given_and_three_defaults() {
    for kind in [Kind::Sandbox, Kind::Plain] {
        let mut host = Host::new(kind);
        let mut given = start("env", command(&["env"]));
        given.env = vec![
            ("TOKEN".to_owned(), Redacted::new("s3cr3t = \"x\"".to_owned())),
            ("LANG".to_owned(), Redacted::new("C".to_owned())),
        ];
        given.relay_env = vec![("TAKE".to_owned(), "/v2/ep/job-take/$ID?gpu=".to_owned().into())];
        given.egress = Egress::Shared;
        let name = given.worker.clone();
        let relay = host.driver.start(given).await.unwrap().relay;
        assert_eq!(host.end_of(&name).await, ExitReason::Code(0));
        let mut lines = host.lines(&name, 4).await;
        lines.sort();
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned();
        let take = format!("TAKE={}/v2/ep/job-take/$ID?gpu=", relay.url);
        let token = "TOKEN=s3cr3t = \"x\"".to_owned();
        let own = |name: &str| host.folder.path().join("run/wk_env").join(name).display().to_string();
        let expected = match kind {
            Kind::Sim | Kind::Sandbox => {
                vec!["HOME=/home/worker".to_owned(), "LANG=C".to_owned(), path, take, token]
            }
            Kind::Plain => vec![
                format!("HF_HUB_CACHE={}", own("hub")),
                format!("HOME={}", own("home")),
                "LANG=C".to_owned(),
                path,
                take,
                token,
            ],
        };
        assert_eq!(lines, expected);
        // A secret is not in any record.
        for entry in fs::read_dir(host.folder.path().join("run/wk_env")).unwrap().flatten() {
            let bytes = fs::read(entry.path()).unwrap_or_default();
            let is_log = entry.file_name() == "log";
            assert!(is_log || !String::from_utf8_lossy(&bytes).contains("s3cr3t"), "{entry:?}");
        }
    }
}

#[tokio::test]
async fn the_root_holds_what_programs_need_and_no_more() {
    let lines = run_shell("ls -A / /home /root /var /run /etc /dev /runpod-volume 2>&1; id -u; hostname; pwd; ls /proc | grep -c '^[0-9]'").await;
    let text = lines.join("\n");
    for absent in
        ["/root:", "shadow", "ssh", "sda", "vda", "mem", "boot", "lost+found", ".old", ".scratch", "proc_api"]
    {
        assert!(!lines.iter().any(|line| line == absent), "{absent} is there:\n{text}");
    }
    for present in ["usr", "bin", "null", "urandom", "passwd", "hosts", "worker"] {
        assert!(lines.iter().any(|line| line == present), "{present} is missing:\n{text}");
    }
    let tail: Vec<_> = lines[lines.len() - 4..].iter().map(String::as_str).collect();
    assert_eq!(tail[..3], ["0", "wk-shell", "/app"]);
    assert!(tail[3].parse::<u32>().unwrap() <= 5, "it sees {} processes", tail[3]);
}

#[tokio::test]
async fn devices_and_own_folders_work() {
    let script = "set -e; echo x > /dev/null; head -c 3 /dev/zero > /tmp/a; head -c 3 /dev/urandom > $HOME/b; \
                  echo c > /dev/shm/c; echo d > d; mkdir -p /var/tmp/e; ls /tmp; echo over >&2; cat /dev/stdin; \
                  test -r /etc/ssl/certs || echo no certificates; getent hosts localhost > /dev/null; stat -c %a /tmp";
    let lines = run_shell(script).await;
    assert!(lines.contains(&"a".to_owned()) && lines.contains(&"over".to_owned()), "{lines:?}");
    assert!(lines.contains(&"1777".to_owned()), "{lines:?}");
}

#[tokio::test]
async fn the_release_is_below_and_changes_are_the_workers_own() {
    let script = "set -e; cat given; echo changed >> given; cat given; echo new > sub/new; rm sub/old; mv given moved; \
                  chmod +x moved; mkdir -p more/deep; ls -A . sub | tr '\\n' ' '";
    // Nothing can lie over the second one: its file system maps no owners.
    let mut host = Host::new(Kind::Sandbox);
    let released = host.folder.path().join("released");
    fs::create_dir_all(released.join("sub")).unwrap();
    fs::write(released.join("given"), "given\n").unwrap();
    fs::write(released.join("sub/old"), "old\n").unwrap();
    for kind in [Kind::Sandbox, Kind::Plain] {
        let mut host = Host::new(kind);
        let start = ResolvedStart { folder: Some(released.clone()), ..start("writer", shell(script)) };
        let lines = run(&mut host, start, ExitReason::Code(0)).await;
        let listing = ".: more moved sub  sub: new ";
        assert_eq!(lines, ["given", "given", "changed", listing], "{kind:?}");
        assert_eq!(fs::read_to_string(released.join("given")).unwrap(), "given\n");
        assert!(released.join("sub/old").exists() && !released.join("sub/new").exists());
    }
    let copied = ResolvedStart {
        folder: Some("/proc/sys/kernel/random".into()),
        ..start(
            "copied",
            shell("set -e; test -s boot_id; chmod u+w boot_id; echo own > boot_id; cat boot_id"),
        )
    };
    assert_eq!(run(&mut host, copied, ExitReason::Code(0)).await, ["own"]);
}

#[tokio::test]
async fn what_a_worker_writes_is_limited_in_all() {
    let script = "for place in /tmp $HOME /app /dev/shm /runpod-volume/huggingface-cache/hub; do \
                  head -c 600000 /dev/zero > $place/x 2>/dev/null && echo $place; done; \
                  head -c 6000000 /dev/zero 2> /dev/null > /tmp/y || echo full";
    let mut limited = start("scratch", shell(script));
    limited.limits.scratch = Some(ByteSize::mib(2));
    limited.mounts = mounts::hub(&[]).unwrap();
    let lines = run(&mut Host::new(Kind::Sandbox), limited, ExitReason::Code(0)).await;
    assert_eq!(lines.iter().filter(|line| line.starts_with('/')).count(), 3, "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("full"));
}

#[tokio::test]
async fn further_mounts_are_read_only_and_in_order() {
    let host_folder = tempfile::tempdir().unwrap();
    fs::set_permissions(host_folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(host_folder.path().join("file"), "content\n").unwrap();
    let mount = |target: &str, source| Mount { target: target.into(), source };
    let mut mounted = start(
        "mounts",
        shell("cat /a/b/c/file /one; echo own > /a/b/own; ls /a/b; echo x > /a/b/c/x || echo kept"),
    );
    mounted.mounts = vec![
        mount("/a/b", MountSource::Private),
        mount("/a/b/c", MountSource::ReadOnly(host_folder.path().to_owned())),
        mount("/one", MountSource::ReadOnly(host_folder.path().join("file"))),
    ];
    let lines = run(&mut Host::new(Kind::Sandbox), mounted, ExitReason::Code(0)).await;
    let expected = ["content", "content", "c", "own"];
    assert_eq!(
        lines.iter().filter(|line| !line.contains("x")).collect::<Vec<_>>(),
        [&expected[..], &["kept"]].concat()
    );
}

#[tokio::test]
async fn without_isolation_models_are_found_by_a_variable() {
    let mut host = Host::new(Kind::Plain);
    let view = host.folder.path().join("view");
    fs::create_dir(&view).unwrap();
    fs::write(view.join("file"), "model\n").unwrap();
    let view = runtime::ViewMount {
        host_path: view,
        canonical: "Org/Name".parse().unwrap(),
        spelled: "Org/Name".parse().unwrap(),
    };
    let mut plain = start(
        "plain",
        shell("cat $HF_HUB_CACHE/models--Org--Name/file $HF_HUB_CACHE/models--org--name/file"),
    );
    plain.mounts = mounts::hub(&[view]).unwrap();
    let name = plain.worker.clone();
    let notes = host.driver.start(plain).await.unwrap().notes;
    assert_eq!(host.end_of(&name).await, ExitReason::Code(0));
    assert_eq!(host.lines(&name, 2).await, ["model", "model"]);
    assert!(notes.iter().any(|note| note.contains("nothing keeps this worker apart")), "{notes:?}");
}

#[tokio::test]
async fn each_worker_of_a_root_agent_is_a_user_of_its_own() {
    let mut host = Host::new(Kind::Sandbox);
    let mut users = Vec::new();
    for name in ["one", "two"] {
        let started = host.driver.start(start(name, host.command(&Behaviour::Run))).await.unwrap();
        let folder = format!("/proc/{}", started.processes.init);
        let status = fs::read_to_string(format!("{folder}/status")).unwrap();
        let uid =
            status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap().split_whitespace().next();
        users.push(uid.unwrap().parse::<u32>().unwrap());
        // What a process that hides shows of itself belongs to root, not to its user.
        assert_eq!(fs::metadata(format!("{folder}/environ")).unwrap().uid(), 0);
    }
    let own = rustix::process::geteuid().as_raw();
    let expected = if is_root() { [0x7000_0000, 0x7001_0000] } else { [own, own] };
    assert_eq!(users, expected);
    for name in ["one", "two"] {
        host.driver.kill(&worker(name)).await.unwrap();
        host.end_of(&worker(name)).await;
    }
}

/// The walls behind the first one: were a worker to get all capabilities back, its mounts would still be locked.
#[tokio::test]
async fn mounts_are_locked_even_against_all_capabilities() {
    if !is_root() {
        // Only root can put a process with all capabilities into a worker's namespaces.
        return;
    }
    let mut host = Host::new(Kind::Sandbox);
    let view = host.folder.path().join("view");
    fs::create_dir(&view).unwrap();
    let mut locked = start("locked", host.command(&Behaviour::Run));
    locked.mounts = vec![Mount { target: "/model".into(), source: MountSource::ReadOnly(view) }];
    let started = host.driver.start(locked).await.unwrap();
    let inside = |script: &str| {
        let output = Command::new("nsenter")
            .args(["--user", "--mount", "--target", &started.processes.init.to_string(), "sh", "-c", script])
            .output()
            .expect("nsenter (util-linux) is there");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let (_, capabilities) = inside("grep CapEff /proc/self/status; id -u");
    assert!(!capabilities.contains("0000000000000000") && capabilities.ends_with('0'), "{capabilities}");
    for script in [
        "mount -o remount,bind,rw /model",
        "mount -o remount,rw /model",
        "umount /model",
        "mount -o remount,bind,rw /usr",
        "mount -o remount,bind,rw /",
        "umount -l /proc/sys",
        "mount -o remount,bind,suid,dev /tmp",
        "mknod /tmp/disk b 8 0 && head -c 1 /tmp/disk",
        "echo 1 > /proc/sys/vm/drop_caches",
    ] {
        assert!(!inside(script).0, "{script} was allowed");
    }
    host.driver.kill(&worker("locked")).await.unwrap();
    host.end_of(&worker("locked")).await;
}

/// Makes a virtual environment with some interpreter of this machine.
fn environment(host: &Host, interpreter: &str, name: &str) -> PathBuf {
    let folder = host.folder.path().join(name);
    let made = Command::new(interpreter).args(["-m", "venv", "--without-pip"]).arg(&folder).status();
    assert!(made.expect("the interpreter runs").success(), "{interpreter} can make no virtual environment");
    fs::set_permissions(host.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

#[tokio::test]
async fn python_environments_run_with_their_base_and_nothing_else_of_a_home() {
    let mut interpreters: Vec<PathBuf> = std::env::var("PATH")
        .unwrap()
        .split(':')
        .map(|folder| PathBuf::from(folder).join("python3"))
        .collect();
    interpreters.retain(|path| path.exists());
    assert!(!interpreters.is_empty(), "no python3 on PATH");
    for (number, interpreter) in interpreters.iter().enumerate() {
        let mut host = Host::new(Kind::Sandbox);
        let folder = environment(&host, &interpreter.to_string_lossy(), &format!("venv{number}"));
        let python = PythonEnvironment::inspect(&folder).await.unwrap();
        assert!(python.version().starts_with("3."), "{}", python.version());
        let script = "import ctypes, hashlib, json, os, sqlite3, ssl, sys; print(sys.prefix); print(sys.base_prefix); \
                      print(os.listdir('/root') if os.path.isdir('/root') else []); \
                      print(len(os.sched_getaffinity(0)) > 0, os.cpu_count() > 0); \
                      import multiprocessing as m; m.Lock(); \
                      sys.stdout.flush(); open(sys.prefix + '/x', 'w')";
        let start =
            ResolvedStart { python: Some(python), ..start("python", command(&["python", "-c", script])) };
        let name = start.worker.clone();
        let all = run(&mut host, start, ExitReason::Code(1)).await;
        let lines = host.driver.logs(&name, 100).await.unwrap();
        let lines: Vec<_> =
            lines.into_iter().filter(|line| line.stream == LogStream::Output).map(|line| line.text).collect();
        assert_eq!(lines.len(), 4, "{all:?}");
        assert_eq!(lines[0], folder.display().to_string());
        let home: &str = if lines[1].starts_with("/root/.pyenv") { "['.pyenv']" } else { "[]" };
        assert_eq!((lines[2].as_str(), lines[3].as_str()), (home, "True True"), "{lines:?}");
        assert!(all.iter().any(|line| line.contains("Read-only file system")), "{all:?}");
    }
}

#[tokio::test]
async fn an_environment_beside_our_own_data_is_refused() {
    let host = Host::new(Kind::Sandbox);
    fs::create_dir(host.folder.path().join("data")).unwrap();
    let folder = environment(&host, "python3", "data/venv");
    let python = PythonEnvironment::inspect(&folder).await.unwrap();
    let start = ResolvedStart { python: Some(python), ..start("python", command(&["python", "--version"])) };
    let fault = host.driver.start(start).await.unwrap_err().fault();
    assert_eq!(fault.code, ErrorCode::DriverFailed);
    assert!(fault.message.contains("Larder's own data is in the same place"), "{}", fault.message);
}
