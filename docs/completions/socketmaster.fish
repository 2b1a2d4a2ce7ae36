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
        if not set -q pair[2]; and contains -- $pair[1] listen command dir user start stop-signal stop-timeout signal ok handoff env control s
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
        tcp:// 'TCP. Without a host one socket for IPv4 and IPv6, where the system has both' \
        tcp4:// 'TCP over IPv4 only' \
        tcp6:// 'TCP over IPv6 only' \
        unix:/// 'a stream socket at an absolute path, or with an abstract name' \
        unix://@ 'a stream socket at an absolute path, or with an abstract name' \
        udp:// 'UDP, hosts as for tcp' \
        udp4:// 'UDP over IPv4 only' \
        udp6:// 'UDP over IPv6 only' \
        unixgram:/// 'a datagram socket at an absolute path, or with an abstract name' \
        unixgram://@ 'a datagram socket at an absolute path, or with an abstract name' \
        fd:// 'a socket that the master has inherited as descriptor N' \
        systemd: 'all sockets that a socket unit of systemd offers and no other listener names, in their order and with their names; or those of that name' \
        none 'no socket'
end

function __socketmaster_verbs
    printf '%s\t%s\n' \
        reload 'reloads, waits for the end of that reload, and fails if it has failed' \
        status 'shows generations, workers, listeners and the last reload' \
        stop 'stops like TERM, and waits for the end'
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
    set -l orders reload stop ignore HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS
    if set -q pair[2]
        printf '%s\n' $pair[1]:$orders
    else
        printf '%s:\n' HUP INT QUIT USR1 USR2 PIPE ALRM TERM STKFLT CONT TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR
    end
end

function __socketmaster_protocols
    set -l protocols einhorn-fds systemd server-starter
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
complete -c socketmaster -n __socketmaster_options -o listen -x -a '(__socketmaster_listeners)' -d 'socket to open, or none for no socket'
complete -c socketmaster -n __socketmaster_options -o command -x -a '(__socketmaster_programs)' -d 'program to run; its arguments follow the options'
complete -c socketmaster -n __socketmaster_options -o dir -x -a '(__fish_complete_directories (__socketmaster_value))' -d 'working directory, resolved anew at each start'
complete -c socketmaster -n __socketmaster_options -o user -x -a '(__socketmaster_users)' -d 'run workers as LOGIN, UID, LOGIN:GROUP or UID:GID'
complete -c socketmaster -n __socketmaster_options -o start -x -d 'how long a new generation must live to be trusted'
complete -c socketmaster -n __socketmaster_options -o stop-signal -x -a '(__socketmaster_stop_signals)' -d 'what tells an old generation to stop'
complete -c socketmaster -n __socketmaster_options -o stop-timeout -x -d 'KILL for a worker that has not stopped; 0: never'
complete -c socketmaster -n __socketmaster_options -o signal -x -a '(__socketmaster_signal_rules)' -d 'at SIG: reload, stop, ignore, or pass on signal DO'
complete -c socketmaster -n __socketmaster_options -o group -d 'send signals to workers\' whole process groups'
complete -c socketmaster -n __socketmaster_options -o ok -x -d 'exit statuses of the program to report as 0'
complete -c socketmaster -n __socketmaster_options -o handoff -x -a '(__socketmaster_protocols)' -d 'protocols, or none'
complete -c socketmaster -n __socketmaster_options -o env -x -d 'another variable, {fd} {addr} {uri} filled in'
complete -c socketmaster -n __socketmaster_options -o prefix -d '[pid] before each line of the workers\' output'
complete -c socketmaster -n __socketmaster_options -o syslog -d 'log to syslog, the workers\' output too'
complete -c socketmaster -n __socketmaster_options -o control -r -F -d 'control socket: a path or @NAME'
complete -c socketmaster -n __socketmaster_options -o s -x -a '(__socketmaster_verbs)' -d 'ask the master behind -control: reload, status, stop'
complete -c socketmaster -n __socketmaster_options -o json -d 'with -s: the answer as JSON'
complete -c socketmaster -n __socketmaster_options -o help -o h -d 'this screen; --help: everything'
complete -c socketmaster -n __socketmaster_options -o version -d 'print the version'
