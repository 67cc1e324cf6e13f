# Runs one Postgres for a process that may die at any moment.
#
# Standard input is a pipe, and only that process holds the other end. When the process ends, in whatever way, the read
# below fails. Then the guard stops the server and removes its directory. So nothing depends on a destructor.
#
#   sh guard.sh DIRECTORY POSTGRES [word before postgres]...
#
# Commands: "start" is answered with the server's process id, "stop SIGNAL" with "stopped" when it is gone.

dir=$1 postgres=$2
shift 2
pid=

# Ctrl-C on the terminal must not end the guard, nor an answer without a reader, before its work is done.
trap '' HUP INT TERM PIPE

gone_within() { # TWENTIETHS OF A SECOND
    n=$1
    while kill -0 "$pid" 2>/dev/null; do
        [ "$n" -gt 0 ] || return 1
        n=$((n - 1))
        sleep 0.05
    done
}

halt() { # FIRST SIGNAL
    [ -n "$pid" ] || return 0
    for signal in "$1" QUIT KILL; do
        kill -s "$signal" "$pid" 2>/dev/null
        gone_within 200 && break
    done
    wait "$pid" 2>/dev/null
    pid=
}

while read -r verb argument; do
    case $verb in
    start)
        "$@" "$postgres" -D "$dir/data" </dev/null >>"$dir/log" 2>&1 &
        pid=$!
        echo "$pid"
        ;;
    stop)
        halt "$argument"
        echo stopped
        ;;
    esac
done

halt INT
# A killed server leaves its System V segment behind; the seventh line of its pid file has key and id.
if segment=$(sed -n '7s/^ *[0-9]* *//p' "$dir/data/postmaster.pid" 2>/dev/null) && [ -n "$segment" ]; then
    ipcrm -m "$segment" 2>/dev/null
fi
rm -rf "$dir"
