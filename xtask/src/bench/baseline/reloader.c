// A bare rollover: at HUP starts the program anew and tells the one before to stop.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static sigset_t found;

static pid_t start(char **argv) {
    pid_t child = fork();
    if (child == 0) {
        sigprocmask(SIG_SETMASK, &found, 0);
        execv(argv[1], argv + 1);
        _exit(127);
    }
    return child;
}

int main(int argc, char **argv) {
    (void)argc;
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &found);
    pid_t current = start(argv);
    for (;;) {
        int number = sigwaitinfo(&all, 0);
        if (number == SIGHUP) {
            pid_t old = current;
            current = start(argv);
            kill(old, SIGTERM);
        }
        while (waitpid(-1, 0, WNOHANG) > 0) {}
    }
}
