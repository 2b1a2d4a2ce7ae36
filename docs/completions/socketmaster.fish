# fish completion for socketmaster(1).
# Written by `make pages` from the tables in the source.

# Prints the program and its arguments as far as they are there; fails as long as options may follow.
function __socketmaster_words
    set -l words (commandline -opc)
    set -l command
    set -e words[1]
    while set -q words[1]
        set -l word $words[1]
        if test "$word" = --; or not string match -q -- '-?*' $word
            test "$word" != --; or set -e words[1]
            for word in $command $words
                printf '%s\n' $word
            end
            return 0
        end
        set -e words[1]
        set -l pair (string split -m 1 -- = (string replace -r -- '^--?' '' $word))
        if not set -q pair[2]; and contains -- $pair[1] listen command dir user ready start check settle workers stop-signal stop-timeout signal ok handoff env control pid-file s probe
            set -a pair $words[1]
            set -e words[1]
        end
        if test "$pair[1]" = 'command'
            set command $pair[2]
        end
    end
    set -q command[1]; and printf '%s\n' $command
    return 1
end

function __socketmaster_options
    not __socketmaster_words >/dev/null
end

# The program's own completion.
function __socketmaster_operands
    set -l current (commandline -ct)
    set -l words (__socketmaster_words)
    if test $status -ne 0; and string match -q -- '-*' "$current"
        return
    end
    set -l line
    for word in $words
        set -a line (string escape -- $word)
    end
    set -a line "$current"
    complete -C "$line"
end

# What is there of an option's value.
function __socketmaster_value
    commandline -ct | string replace -r -- '^--?[a-z-]+=' ''
end

function __socketmaster_listeners
    printf '%s\t%s\n' \
        tcp:// 'TCP. Without a host, one socket serves IPv4 and IPv6, if the system has both' \
        tcp4:// 'TCP over IPv4 only' \
        tcp6:// 'TCP over IPv6 only' \
        unix:/// 'a unix stream socket at an absolute path or with an abstract name' \
        unix://@ 'a unix stream socket at an absolute path or with an abstract name' \
        udp:// 'UDP, with hosts as for tcp' \
        udp4:// 'UDP over IPv4 only' \
        udp6:// 'UDP over IPv6 only' \
        unixgram:/// 'a unix datagram socket at an absolute path or with an abstract name' \
        unixgram://@ 'a unix datagram socket at an absolute path or with an abstract name' \
        fd:// 'a socket that socketmaster has inherited as descriptor N' \
        systemd: 'the sockets of a systemd socket unit that have this name; without a name, all that no other listener names. They keep their order and their names' \
        none 'no socket'
end

function __socketmaster_ready
    printf '%s\t%s\n' \
        auto 'it has run for -start, and accepts where the current one does' \
        start 'it has run for -start' \
        accept 'it accepts on every listener' \
        notify 'it has sent READY=1 to NOTIFY_SOCKET' \
        einhorn 'it has sent the acknowledgement of einhorn'
end

function __socketmaster_verbs
    printf '%s\t%s\n' \
        reload 'reloads, waits for the end of the reload, and fails if the reload fails' \
        status 'shows generations, workers, listeners and the last reload' \
        stop 'stops as SIGTERM does and waits until the master has exited'
end

function __socketmaster_programs
    set -l value (__socketmaster_value)
    complete -C "$value"
end

function __socketmaster_users
    set -l value (__socketmaster_value)
    set -l pair (string split -m 1 -- : "$value")
    if set -q pair[2]
        printf '%s\n' $pair[1]:(__fish_complete_groups)
    else
        __fish_complete_users
    end
end

function __socketmaster_stop_signals
    printf '%s\n' HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS
end

function __socketmaster_signal_rules
    set -l value (__socketmaster_value)
    set -l pair (string split -m 1 -- : "$value")
    set -l orders reload stop ignore forward HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS
    if set -q pair[2]
        printf '%s\n' $pair[1]:$orders
    else
        printf '%s:\n' HUP INT QUIT ILL TRAP ABRT BUS FPE USR1 SEGV USR2 PIPE ALRM TERM STKFLT CONT TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS
    end
end

function __socketmaster_protocols
    set -l protocols einhorn-fds einhorn systemd server-starter
    set -l value (__socketmaster_value)
    set -l chosen (string split -- , "$value")
    set -e chosen[-1]
    if set -q chosen[1]
        for protocol in $protocols
            contains -- $protocol $chosen; or printf '%s,%s\n' (string join -- , $chosen) $protocol
        end
    else
        printf '%s\n' $protocols none
    end
end

complete -c socketmaster -f
complete -c socketmaster -a '(__socketmaster_operands)'
complete -c socketmaster -n __socketmaster_options -o listen -x -a '(__socketmaster_listeners)' -d socket
complete -c socketmaster -n __socketmaster_options -o command -x -a '(__socketmaster_programs)' -d 'program to run'
complete -c socketmaster -n __socketmaster_options -o dir -x -a '(__fish_complete_directories (__socketmaster_value))' -d 'working directory'
complete -c socketmaster -n __socketmaster_options -o user -x -a '(__socketmaster_users)' -d 'user of the workers'
complete -c socketmaster -n __socketmaster_options -o ready -x -a '(__socketmaster_ready)' -d 'when it is ready'
complete -c socketmaster -n __socketmaster_options -o start -x -d 'time to run [3000]'
complete -c socketmaster -n __socketmaster_options -o check -x -a '(__socketmaster_programs)' -d 'run before a reload'
complete -c socketmaster -n __socketmaster_options -o settle -x -d 'time side by side'
complete -c socketmaster -n __socketmaster_options -o workers -x -d 'processes to start'
complete -c socketmaster -n __socketmaster_options -o respawn -d 'replace what exits'
complete -c socketmaster -n __socketmaster_options -o stop-signal -x -a '(__socketmaster_stop_signals)' -d 'stop signal'
complete -c socketmaster -n __socketmaster_options -o stop-timeout -x -d 'then SIGKILL'
complete -c socketmaster -n __socketmaster_options -o signal -x -a '(__socketmaster_signal_rules)' -d 'change what SIG does'
complete -c socketmaster -n __socketmaster_options -o group -d 'signal whole groups'
complete -c socketmaster -n __socketmaster_options -o ok -x -d 'statuses that mean 0'
complete -c socketmaster -n __socketmaster_options -o handoff -x -a '(__socketmaster_protocols)' -d 'protocols, or none'
complete -c socketmaster -n __socketmaster_options -o env -x -d 'variable to add'
complete -c socketmaster -n __socketmaster_options -o prefix -d '[pid] before lines'
complete -c socketmaster -n __socketmaster_options -o syslog -d 'log to syslog'
complete -c socketmaster -n __socketmaster_options -o quiet -d 'fewer log lines'
complete -c socketmaster -n __socketmaster_options -o verbose -d 'more log lines'
complete -c socketmaster -n __socketmaster_options -o control -r -F -d 'control socket'
complete -c socketmaster -n __socketmaster_options -o pid-file -r -F -d 'for the master\'s pid'
complete -c socketmaster -n __socketmaster_options -o s -x -a '(__socketmaster_verbs)' -d 'reload, status, stop'
complete -c socketmaster -n __socketmaster_options -o json -d 'answer as JSON'
complete -c socketmaster -n __socketmaster_options -o probe -x -d 'health check'
complete -c socketmaster -n __socketmaster_options -o help -o h -d '--help: everything'
complete -c socketmaster -n __socketmaster_options -o version -d 'print the version'
