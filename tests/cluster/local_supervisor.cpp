// The supervisor of a job on this machine, as a program of its own for the tests.
#include "cluster/local_supervisor.h"

int main(int argc, char** argv) { return orch::cluster::supervisor_main(argc, argv).value_or(2); }
