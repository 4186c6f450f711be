#!/bin/sh
# The main job, from nothing: a spool, jobs of every kind, a worker, and what is left to look at.
# Run it with: make demo
set -eu
exec 2>&1

bold='' dim='' plain=''
if [ -t 1 ]; then bold=$(printf '\033[1m') dim=$(printf '\033[2m') plain=$(printf '\033[0m'); fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
run() { printf '%s$ %s%s\n' "$dim" "$1" "$plain" && eval "$1"; }

unset QUEUECTL_SPOOL || :
home=$(mktemp -d "${TMPDIR:-/tmp}/queuectl-demo.XXXXXX")
cd "$home"

say "1. A spool is a directory. Failed jobs of this one are tried three times, about a second apart."
run 'queuectl init'
run 'queuectl config set max-retries 2'
run 'queuectl config set backoff-base 1'

say "2. Submit jobs: one that works, one that fails, one that never ends, one for later, one that is urgent."
run "queuectl enqueue --id hello -- 'echo Hello from a job'"
run "queuectl enqueue '{\"id\": \"broken\", \"command\": \"badcommand\"}'"
run "queuectl enqueue --id endless --timeout 1 --max-retries 0 -- sleep 600"
run "queuectl enqueue --id later --in 4s -- 'echo The time has come'"
run "queuectl enqueue --id urgent --priority 1 -- 'echo Me first'"

say "3. Many at once, one JSON object a line."
run "for n in 1 2 3; do echo '{\"command\": \"sleep 0.'\$n'\"}'; done | queuectl enqueue -"

say "4. Any tool that can write a file can submit a job. cp, for example."
echo '{"command": "echo I was dropped with cp"}' >dropped.json
run 'cp dropped.json spool/pending/'

say "5. The queue is a directory: priority, time to start, attempts so far, id. The urgent job comes first."
run 'ls spool/pending'

say "6. Run them, two at a time, until nothing is left. broken is retried, endless is ended, later waits for its time."
run 'queuectl worker start --count 2 --drain'

say "7. What a job wrote is in its log, and every attempt with it."
run 'queuectl logs hello'
run 'queuectl logs broken'

say "8. Jobs that gave up are the dead letters, to be retried or dropped."
run 'queuectl dlq list'

say "9. How it went."
run 'queuectl status'
run 'queuectl metrics'

say "10. And it is all still there to look at: when, priority, attempts, result, duration, id."
run 'ls spool/done spool/dead'

printf '\nLook around in %s, and remove it when you like.\n' "$home"
