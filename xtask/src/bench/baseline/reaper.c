// A bare reaper: starts a program, then waits for whoever dies.
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    (void)argc;
    pid_t child = fork();
    if (child == 0) {
        execv(argv[1], argv + 1);
        _exit(127);
    }
    for (pid_t pid; (pid = waitpid(-1, 0, 0)) > 0;) {
        if (pid == child) return 0;
    }
}
