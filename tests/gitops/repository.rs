//! A git repository of a team on this machine: what is committed to it is what Argo CD and Flux bring to the cluster.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::control_plane::process::{Scratch, hermetic};

/// A repository with the branch `main`.
pub struct Repository {
    scratch: Scratch,
}

impl Repository {
    /// The examples as they are shipped, each text changed by `adapt`: what names a host, a namespace or a repository differs in a test.
    pub fn of_examples(adapt: &dyn Fn(&str) -> String) -> Self {
        let repository = Self { scratch: Scratch::new() };
        repository.git(&["init", "--quiet", "--initial-branch", "main"]);
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        for folder in ["team/org", "team/assist", "argocd/apps"] {
            for entry in std::fs::read_dir(root.join(folder)).expect("an example folder") {
                let path = entry.expect("an entry").path();
                let text = std::fs::read_to_string(&path).expect("an example");
                let name = path.file_name().expect("a file").to_string_lossy().into_owned();
                repository.write(&format!("examples/{folder}/{name}"), &adapt(&text));
            }
        }
        repository.commit("The examples");
        repository
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Its address for Argo CD.
    pub fn url(&self) -> String {
        format!("file://{}", self.path().display())
    }

    /// Writes a file; [`Self::commit`] follows.
    pub fn write(&self, name: &str, text: &str) {
        let path: PathBuf = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("create a folder");
        std::fs::write(path, text).expect("write a file");
    }

    /// Changes a text in a file, which must be there, and commits.
    pub fn change(&self, name: &str, from: &str, to: &str) -> String {
        let text = std::fs::read_to_string(self.path().join(name)).expect("a file of the repository");
        assert!(text.contains(from), "{name} does not contain {from}");
        self.write(name, &text.replace(from, to));
        self.commit(&format!("{to} in {name}"))
    }

    /// Commits everything; gives the commit's id.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", message]);
        self.head()
    }

    /// A commit even where nothing changed.
    pub fn commit_anyway(&self, message: &str) -> String {
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.head()
    }

    /// `git revert` of the last commit.
    pub fn revert(&self) -> String {
        self.git(&["revert", "--no-edit", "HEAD"]);
        self.head()
    }

    fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    fn git(&self, args: &[&str]) -> String {
        let mut git = Command::new("git");
        hermetic(&mut git).current_dir(self.path()).args(args);
        git.envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")]);
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "Platform Team").env(format!("GIT_{who}_EMAIL"), "team@example.com");
        }
        let output = git.output().expect("run git");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
