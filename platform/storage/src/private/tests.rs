use std::{
    os::unix::fs::{chown, symlink},
    path::PathBuf,
};

use super::*;

fn me() -> u32 {
    Process::this().unwrap().user
}

/// As one who was not asked for: the user with the fewest rights.
const NOBODY: u32 = 65_534;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn said<T>(outcome: io::Result<T>) -> String {
    outcome.map(drop).unwrap_err().to_string()
}

/// A directory in which everybody makes files, as root has them. Who is not root finds one.
fn public_directory(folder: &Path) -> PathBuf {
    if me() != ROOT {
        return "/tmp".into();
    }
    let path = folder.join("public");
    fs::create_dir(&path).unwrap();
    set_mode(&path, 0o1777);
    path
}

/// A file that belongs to somebody else. Who is not root cannot give one away, and finds one of root's.
fn foreign_file(folder: &Path) -> PathBuf {
    if me() != ROOT {
        return "/etc/passwd".into();
    }
    let path = folder.join("foreign");
    fs::write(&path, "theirs").unwrap();
    chown(&path, Some(NOBODY), None).unwrap();
    path
}

fn is_db(name: &str) -> bool {
    name == "orders.db"
}

#[test]
fn what_is_made_is_for_its_user_alone() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("a/b");
    directory(&made, is_db).unwrap();
    let (lock, draft, database) = (made.join("lock"), made.join("draft"), made.join("database"));
    create(&lock).unwrap();
    create_new(&draft).unwrap();
    prepare(&database).unwrap();
    for (path, expected) in [
        (folder.path().join("a"), 0o700),
        (made, 0o700),
        (lock, 0o600),
        (draft, 0o600),
        (database, 0o600),
    ] {
        assert_eq!(mode(&path), expected, "{}", path.display());
    }
}

#[test]
fn a_planted_link_leads_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let (target, hard) = (folder.path().join("target"), folder.path().join("hard"));
    fs::write(&target, "precious").unwrap();
    set_mode(&target, 0o600);
    let (link, dangling) = (folder.path().join("link"), folder.path().join("dangling"));
    symlink(&target, &link).unwrap();
    symlink(folder.path().join("nothing"), &dangling).unwrap();
    for link in [&link, &dangling] {
        for refused in [said(create(link)), said(prepare(link)), said(read(link))] {
            assert!(refused.contains("it is a link"), "{refused}");
        }
        assert_eq!(create_new(link).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
    fs::hard_link(&target, &hard).unwrap();
    for refused in [said(create(&hard)), said(prepare(&hard))] {
        assert!(refused.contains("a hard link"), "{refused}");
    }
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    assert!(!folder.path().join("nothing").exists());
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    for refused in [said(create(&pipe)), said(prepare(&pipe)), said(read(&pipe))] {
        assert!(refused.contains("no regular file"), "{refused}");
    }
    assert!(said(read(folder.path())).contains("no regular file"));
}

#[test]
fn a_file_of_somebody_else_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = foreign_file(folder.path());
    for refused in [said(prepare(&foreign)), said(read(&foreign))] {
        assert!(
            refused.contains("belongs to user") && refused.contains("chown"),
            "{refused}"
        );
    }
}

#[test]
fn a_file_that_must_always_have_been_private_is_refused_when_it_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, "secret").unwrap();
    for loose in [0o666, 0o644, 0o604, 0o602] {
        set_mode(&key, loose);
        let refused = said(read(&key));
        assert!(
            refused.contains("others may read or write it") && refused.contains("chmod 600"),
            "{refused}"
        );
        assert_eq!(mode(&key), loose, "the file is left as it is");
    }
    set_mode(&key, 0o600);
    assert_eq!(read(&key).unwrap(), b"secret");
}

/// A directory that was given to a group of ours, as volumes are, with a key in it.
fn volume(folder: &Path) -> (PathBuf, PathBuf) {
    let volume = folder.join("volume");
    fs::create_dir(&volume).unwrap();
    set_mode(&volume, 0o2770);
    let key = volume.join("key");
    fs::write(&key, "secret").unwrap();
    (volume, key)
}

/// That the key is not taken, and is left as it is.
fn assert_refused(key: &Path, who: &str) {
    let left = mode(key);
    let refused = said(read(key));
    assert!(
        refused.starts_with(who) && refused.contains("may read or write it") && refused.contains("chmod 600"),
        "{refused}"
    );
    assert_eq!(mode(key), left, "the file is left as it is");
}

#[test]
fn a_key_that_a_volume_has_opened_to_a_group_of_ours_is_closed_and_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (volume, key) = volume(folder.path());
    for opened in [0o660, 0o640, 0o620] {
        set_mode(&key, opened);
        set_mode(&volume, 0o2770);
        // As whoever asks for it does first: the directory is closed, and is a volume still.
        directory(&volume, |name| name == "key").unwrap();
        assert_eq!(mode(&volume), 0o2700);
        assert_eq!(read(&key).unwrap(), b"secret");
        assert_eq!(mode(&key), 0o600);
    }
    // Only root can give a file to a group that it is not in.
    if me() == ROOT {
        for path in [&volume, &key] {
            chown(path, None, Some(NOBODY)).unwrap();
        }
        set_mode(&volume, 0o2770);
        set_mode(&key, 0o660);
        assert_refused(&key, "group 65534, which this process is not in,");
    }
}

#[test]
fn a_key_that_a_group_of_ours_may_read_outside_of_a_volume_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (volume, key) = volume(folder.path());
    let group = fs::metadata(&key).unwrap().gid();
    // Without the mark, whoever may enter the directory.
    for closed in [0o770, 0o700] {
        set_mode(&volume, closed);
        for opened in [0o660, 0o640, 0o620] {
            set_mode(&key, opened);
            assert_refused(&key, &format!("all of group {group} "));
        }
    }
    // With the mark of another group than the key's, or in a directory of somebody else, which only root can make.
    if me() == ROOT {
        chown(&volume, None, Some(NOBODY)).unwrap();
        set_mode(&volume, 0o2770);
        assert_refused(&key, &format!("all of group {group} "));
        chown(&volume, Some(NOBODY), Some(group)).unwrap();
        set_mode(&volume, 0o2770);
        assert_refused(&key, &format!("all of group {group} "));
    }
    set_mode(&key, 0o600);
    assert_eq!(read(&key).unwrap(), b"secret");
}

#[test]
fn a_key_with_an_access_list_that_names_others_is_refused_on_a_volume_too() {
    let folder = tempfile::tempdir().unwrap();
    let (_, key) = volume(folder.path());
    // The version, and then kind, rights and id of each entry: owner, user 65534, group, mask, others.
    let none = u32::MAX;
    let entries = [(1, 6, none), (2, 4, NOBODY), (4, 0, none), (16, 4, none), (32, 0, none)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (kind, rights, id) in entries {
        list.extend([u16::to_le_bytes(kind), u16::to_le_bytes(rights)].concat());
        list.extend(id.to_le_bytes());
    }
    rustix::fs::setxattr(&key, "system.posix_acl_access", &list, rustix::fs::XattrFlags::empty()).unwrap();
    assert_eq!(mode(&key), 0o640, "the mask shows as the rights of the group");
    assert_refused(&key, "those in its access list");
    // What the refusal advises ends what the list grants.
    set_mode(&key, 0o600);
    assert_eq!(read(&key).unwrap(), b"secret");
}

#[test]
fn a_file_that_was_open_to_others_is_closed_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let (lock, link) = (folder.path().join("lock"), folder.path().join("link"));
    fs::write(&lock, "").unwrap();
    set_mode(&lock, 0o644);
    create(&lock).unwrap();
    assert_eq!(mode(&lock), 0o600);
    set_mode(&lock, 0o666);
    symlink(&lock, &link).unwrap();
    tighten(&link).unwrap();
    assert_eq!(mode(&lock), 0o666, "a link is not followed");
    tighten(&lock).unwrap();
    assert_eq!(mode(&lock), 0o600);
    tighten(&folder.path().join("gone")).unwrap();
}

#[test]
fn only_a_directory_of_the_shops_own_is_closed_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, empty, home) = (
        folder.path().join("ours"),
        folder.path().join("empty"),
        folder.path().join("home"),
    );
    for (path, file) in [(&ours, Some("orders.db")), (&empty, None), (&home, Some("letters"))] {
        fs::create_dir(path).unwrap();
        set_mode(path, 0o755);
        if let Some(file) = file {
            fs::write(path.join(file), "").unwrap();
        }
    }
    for path in [&ours, &empty] {
        directory(path, is_db).unwrap();
        assert_eq!(mode(path), 0o700, "{}", path.display());
    }
    let refused = said(directory(&home, is_db));
    assert!(refused.contains("holds other things"), "{refused}");
    assert_eq!(mode(&home), 0o755, "the directory is left as it is");
    set_mode(&home, 0o700);
    directory(&home, is_db).unwrap();
    // What a volume has opened to a group of ours.
    set_mode(&ours, 0o2770);
    directory(&ours, is_db).unwrap();
    assert_eq!(mode(&ours), 0o2700);
    set_mode(&home, 0o2770);
    directory(&home, is_db).unwrap();
    assert_eq!(mode(&home), 0o2770, "the directory is left as it is");
    // Without the mark of a volume, others may be in that group.
    set_mode(&home, 0o770);
    assert!(said(directory(&home, is_db)).contains("holds other things"));
    assert_eq!(mode(&home), 0o770, "the directory is left as it is");
    // Where everybody makes files, such as /tmp, closing the door would lock others out.
    set_mode(&ours, 0o1777);
    assert!(said(directory(&ours, is_db)).contains("open to others"));
    assert_eq!(mode(&ours), 0o1777);
}

#[test]
fn who_names_the_directory_of_everybody_is_told_to_name_one_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let public = public_directory(folder.path());
    let refused = said(directory(&public, is_db));
    let advice = format!("DATA_DIR={}/shop", public.display());
    assert!(refused.contains(&advice), "{refused}");
    for wrong in ["chmod", "chown"] {
        assert!(!refused.contains(wrong), "{refused}");
    }
    assert_eq!(mode(&public), 0o1777);
}

#[test]
fn a_directory_may_be_a_link_to_one_of_ours_and_to_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, link) = (folder.path().join("ours"), folder.path().join("link"));
    directory(&ours, is_db).unwrap();
    symlink(&ours, &link).unwrap();
    directory(&link, is_db).unwrap();
    if me() == ROOT {
        std::os::unix::fs::lchown(&link, Some(NOBODY), None).unwrap();
        assert!(said(directory(&link, is_db)).contains("it is a link that belongs to user"));
        chown(&ours, Some(NOBODY), None).unwrap();
        assert!(said(directory(&ours, is_db)).contains("belongs to user"));
    } else {
        let root = Path::new("/etc");
        symlink(root, folder.path().join("etc")).unwrap();
        directory(&folder.path().join("etc"), is_db).unwrap();
        assert_ne!(mode(root), 0o700);
    }
}
