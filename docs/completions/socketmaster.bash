# bash completion for socketmaster(1).
# Written by `make pages` from the tables in the source.

# The words that begin with what is there of the value.
_socketmaster_offer() {
    local word
    for word in "$@"; do
        [[ $word != "$value"* ]] || COMPREPLY+=("$prefix$word")
    done
}

# What compgen(1) has of these kinds.
_socketmaster_generated() {
    local kind found
    compopt -o filenames 2>/dev/null
    for kind in "$@"; do
        mapfile -t found < <(compgen "$kind" -- "$value")
        _socketmaster_offer "${found[@]}"
    done
}

# LOGIN or LOGIN:GROUP.
_socketmaster_user() {
    local found
    if [[ $value == *:* ]]; then
        prefix+=${value%%:*}: value=${value#*:}
        mapfile -t found < <(compgen -g -- "$value")
    else
        mapfile -t found < <(compgen -u -- "$value")
    fi
    _socketmaster_offer "${found[@]}"
}

# One of the words before --, a colon, and one of those behind it.
_socketmaster_pair() {
    local word
    if [[ $value == *:* ]]; then
        prefix+=${value%%:*}: value=${value#*:}
        while [[ $1 != -- ]]; do shift; done
        _socketmaster_offer "${@:2}"
    else
        compopt -o nospace 2>/dev/null
        for word in "$@"; do
            [[ $word != -- ]] || break
            _socketmaster_offer "$word:"
        done
    fi
}

# Some of these words, separated by commas, or none.
_socketmaster_list() {
    local word
    if [[ $value == *,* ]]; then
        local chosen=${value%,*},
        prefix+=$chosen value=${value##*,}
        for word in "$@"; do
            [[ ,$chosen == *",$word,"* ]] || _socketmaster_offer "$word"
        done
    else
        _socketmaster_offer "$@" none
    fi
}

# The value of the option $1: what is there of it is $3, what precedes it in the same word is $2.
_socketmaster_value() {
    local prefix=$2 value=$3
    case $1 in
        listen) compopt -o nospace 2>/dev/null; _socketmaster_offer tcp:// tcp4:// tcp6:// unix:/// unix://@ udp:// udp4:// udp6:// unixgram:/// unixgram://@ fd:// systemd: none ;;
        command) _socketmaster_generated -c -f ;;
        dir) _socketmaster_generated -d ;;
        user) _socketmaster_user ;;
        ready) _socketmaster_offer auto start accept notify einhorn ;;
        check) _socketmaster_generated -c -f ;;
        stop-signal) _socketmaster_offer HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS ;;
        signal) _socketmaster_pair HUP INT QUIT ILL TRAP ABRT BUS FPE USR1 SEGV USR2 PIPE ALRM TERM STKFLT CONT TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS -- reload stop ignore forward HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS ;;
        handoff) _socketmaster_list einhorn-fds einhorn systemd server-starter ;;
        control) _socketmaster_generated -f ;;
        pid-file) _socketmaster_generated -f ;;
        s) _socketmaster_offer reload status stop ;;
    esac
}

# The program and its arguments, from the word $1 of COMP_WORDS on, which is at $2 in COMP_LINE; $3 is the program where
# an option has named it.
_socketmaster_program() {
    local offset=$1 prefix='' value=$cur
    if [[ $3 ]]; then
        COMP_LINE="$3 ${COMP_LINE:$2}"
        ((COMP_POINT += ${#3} + 1 - $2, COMP_CWORD += 1 - offset))
        COMP_WORDS=("$3" "${COMP_WORDS[@]:offset}")
        offset=0
    fi
    if declare -F _comp_command_offset >/dev/null; then
        _comp_command_offset "$offset"
    elif declare -F _command_offset >/dev/null; then
        _command_offset "$offset"
    elif ((COMP_CWORD == offset)); then
        _socketmaster_generated -c -f
    else
        _socketmaster_generated -f
    fi
}

_socketmaster() {
    local options='listen command dir user ready start check settle workers respawn stop-signal stop-timeout signal group ok handoff env prefix syslog quiet verbose control pid-file s json probe help h version'
    local valued=' listen command dir user ready start check settle workers stop-signal stop-timeout signal ok handoff env control pid-file s probe '
    local words=() starts=() indices=() position=0 start rest i
    COMPREPLY=()

    # Readline splits words at =, : and @ as well: here they are put together again.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        rest=${COMP_LINE:position}
        rest=${rest#"${rest%%[![:space:]]*}"}
        start=$((${#COMP_LINE} - ${#rest}))
        if ((i > 0 && start == position)); then
            words[-1]+=${COMP_WORDS[i]}
        else
            words+=("${COMP_WORDS[i]}") starts+=("$start") indices+=("$i")
        fi
        position=$((start + ${#COMP_WORDS[i]}))
    done
    local last=$((${#words[@]} - 1))
    local cur=${COMP_LINE:starts[last]:COMP_POINT-starts[last]}

    # Readline replaces only what follows the last of these.
    local breaks='' kept='' character
    for character in = : @; do
        [[ $COMP_WORDBREAKS != *"$character"* ]] || breaks+=$character
    done
    [[ ! $breaks || $cur != *["$breaks"]* ]] || kept=${cur%"${cur##*["$breaks"]}"}

    local word name value command=''
    for ((i = 1; i < last; i++)); do
        word=${words[i]}
        if [[ $word == -- ]]; then
            _socketmaster_program "${indices[i + 1]}" "${starts[i + 1]}" "$command"
            return
        elif [[ $word != -?* ]]; then
            _socketmaster_program "${indices[i]}" "${starts[i]}" "$command"
            return
        fi
        name=${word#-} name=${name#-} value=''
        if [[ $name == *=* ]]; then
            value=${name#*=} name=${name%%=*}
        elif [[ $valued == *" $name "* ]]; then
            i=$((i + 1))
            if ((i == last)); then
                _socketmaster_value "$name" '' "$cur"
                COMPREPLY=("${COMPREPLY[@]#"$kept"}")
                return
            fi
            value=${words[i]}
        fi
        [[ $name != 'command' ]] || command=$value
    done

    if [[ $cur == -*=* ]]; then
        name=${cur%%=*} name=${name#-} name=${name#-}
        _socketmaster_value "$name" "${cur%%=*}=" "${cur#*=}"
        COMPREPLY=("${COMPREPLY[@]#"$kept"}")
    elif [[ $cur == -* ]]; then
        local prefix=- value=${cur#-}
        [[ $cur != --* ]] || prefix=-- value=${cur#--}
        # Each option is a word.
        # shellcheck disable=SC2086
        _socketmaster_offer $options
    else
        _socketmaster_program "${indices[last]}" "${starts[last]}" "$command"
    fi
}

complete -F _socketmaster socketmaster
