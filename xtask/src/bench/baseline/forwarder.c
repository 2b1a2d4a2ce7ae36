// A bare init: starts a program and passes signals on to it. Nothing is checked that need not be.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    (void)argc;
    sigset_t all, found;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &found);
    pid_t child = fork();
    if (child == 0) {
        sigprocmask(SIG_SETMASK, &found, 0);
        execv(argv[1], argv + 1);
        _exit(127);
    }
    for (;;) {
        int number = sigwaitinfo(&all, 0);
        if (number != SIGCHLD) {
            kill(child, number);
            continue;
        }
        for (pid_t pid; (pid = waitpid(-1, 0, WNOHANG)) > 0;) {
            if (pid == child) return 0;
        }
    }
}
