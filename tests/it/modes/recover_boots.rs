//! The settle window where boots cannot be compared: without `/proc`, in a time namespace, under an uptime of its own.

use std::process::Command;
use std::time::{Duration, Instant};

use idem_runtime::{Error, Store, Verdict};
use idem_tests::halt::{LONG, pause_for};
use idem_tests::shared::call;

use crate::support::role::{self, Program, skip};

const HOLDER: &str = "modes::recover_boots::the_holder";
const ASKER: &str = "modes::recover_boots::the_asker";
const WINDOW: Duration = Duration::from_millis(1_500);

/// Stays in its body.
#[test]
fn the_holder() {
    let Some(words) = role::words() else { return };
    let [path] = words.try_into().unwrap();
    let store = Store::open(path).unwrap();
    let held: Result<u32, Error> = call("boots.charge").store(&store).key("A-17").run(|| {
        role::say("holds");
        role::stand_still()
    });
    unreachable!("{held:?}");
}

/// Asks until its `NotDone` is believed.
#[test]
fn the_asker() {
    let Some(words) = role::words() else { return };
    let [path] = words.try_into().unwrap();
    let store = Store::builder().settle_window(WINDOW).open(path).unwrap();
    let begun = Instant::now();
    let mut refused = 0;
    while begun.elapsed() < LONG {
        let asked = call("boots.charge").store(&store).key("A-17").recover(|| Verdict::<u32>::NotDone);
        let charged: Result<u32, Error> = asked.run(|| Ok(1));
        match charged {
            Ok(_) => return role::say(&format!("believed {refused} {}", begun.elapsed().as_millis())),
            Err(error) => {
                assert!(error.retry_after().unwrap() <= WINDOW, "{error:?}");
                refused += 1;
                pause_for(Duration::from_millis(50));
            }
        }
    }
    role::say("never");
}

/// Surroundings in which a boot cannot be compared with the one before.
#[derive(Clone, Copy, Debug)]
enum Surroundings {
    /// macOS, Windows and a chroot have none.
    WithoutProc,
    TimeNamespace,
    /// A container whose `/proc/uptime` starts anew under the same boot id.
    FreshUptime,
}

impl Surroundings {
    fn wrap(self, program: &Command) -> Command {
        let (options, setup) = match self {
            Surroundings::WithoutProc => ("-m", "mount -t tmpfs none /proc"),
            Surroundings::TimeNamespace => ("-m -T --boottime 100000 --fork --kill-child", "true"),
            Surroundings::FreshUptime => (
                "-m",
                "printf '5.00 1.00\\n' > /tmp/idem-uptime-$$ && mount --bind /tmp/idem-uptime-$$ /proc/uptime && rm -f /tmp/idem-uptime-$$",
            ),
        };
        let mut wrapped = Command::new("unshare");
        wrapped.args(options.split(' ')).args(["sh", "-c", &format!("{setup} && exec \"$@\""), "sh"]);
        wrapped.arg(program.get_program()).args(program.get_args());
        wrapped.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        wrapped
    }

    fn is_possible(self) -> bool {
        let possible = self.wrap(&Command::new("true")).output().is_ok_and(|output| output.status.success());
        if !possible {
            skip(&format!("{self:?} needs the right to unshare namespaces"));
        }
        possible
    }

    fn start(self, part: &str, words: &[&str]) -> Program {
        Program::start_command(self.wrap(&role::command(part, words)))
    }
}

#[test]
fn not_done_is_not_believed_before_the_window_is_over_wherever_the_next_process_runs() {
    for next in [Surroundings::WithoutProc, Surroundings::TimeNamespace, Surroundings::FreshUptime] {
        if !next.is_possible() {
            continue;
        }
        for before in [None, Some(next)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("idem.db");
            let words = [path.to_str().unwrap()];
            let mut holder = match before {
                None => Program::start(HOLDER, &words),
                Some(before) => before.start(HOLDER, &words),
            };
            holder.hear("holds");
            holder.kill();
            let mut asker = next.start(ASKER, &words);
            let believed = asker.hear("believed");
            let numbers: Vec<u64> = believed.split(' ').map(|number| number.parse().unwrap()).collect();
            assert!(numbers[0] > 0, "{before:?}, then {next:?}: the first `NotDone` was believed");
            let waited = Duration::from_millis(numbers[1]);
            assert!(waited + Duration::from_millis(100) >= WINDOW, "{before:?}, then {next:?}: {waited:?}");
            assert!(waited < WINDOW * 8, "{before:?}, then {next:?}: {waited:?}");
        }
    }
}
