#!/bin/sh
# Assumes: a server with --pid PIDFILE that was not started by supervisord or in a container.
# Upgrade a running server without losing a request: a new master beside the old one, a check, and then either
# the old one goes, or the new one does and everything is as before.
#
#   upgrade.sh PIDFILE CHECK...      e.g.  upgrade.sh /run/fastwsgi/pid curl -fsS http://127.0.0.1:8000/health
#
# Exit code 0: the new master serves. 1: the old one serves on.
set -u
pidfile=$1
shift
start_seconds=${START_SECONDS:-60} # for the new master to come up
check_seconds=${CHECK_SECONDS:-60} # for the check to succeed

old=$(cat "$pidfile") || exit 1
kill -USR2 "$old" || exit 1

fail() {
    echo "upgrade.sh: $1; the error log tells why" >&2
    exit 1
}

# The new master writes its pid beside that of the old one; if it cannot start, it takes that away again.
is_up() { new=$(cat "$pidfile.2" 2>/dev/null) && [ -n "$new" ] && kill -0 "$new" 2>/dev/null; }
waited=0
until is_up; do
    [ "$waited" -lt "$start_seconds" ] || fail "the new master does not come up"
    sleep 1
    waited=$((waited + 1))
done

# The old workers finish what they have and go; from then on, it is the new ones who answer.
kill -WINCH "$old"
waited=0
until "$@"; do
    if [ "$waited" -ge "$check_seconds" ]; then
        kill -HUP "$old"
        kill -TERM "$new"
        fail "the check does not succeed, the old master serves on"
    fi
    sleep 1
    waited=$((waited + 1))
done
# If the new master has ended meanwhile, the old one has its workers back, and they were asked.
is_up || fail "the new master has ended, the old one serves on"
kill -TERM "$old"
