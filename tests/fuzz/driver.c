/* A fuzz target in Python, called by libFuzzer: the extensions it imports tell libFuzzer what they cover.
 *
 * FASTWSGI_FUZZ_PYTHON names the interpreter whose packages are used, FASTWSGI_FUZZ_TARGET the module of tests.fuzz
 * whose `check` is called with each input. What it raises is a finding. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static PyObject *check;

static void fail(const char *doing) {
    fprintf(stderr, "fuzz: cannot %s\n", doing);
    if (PyErr_Occurred())
        PyErr_Print();
    exit(3);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    const char *python = getenv("FASTWSGI_FUZZ_PYTHON");
    const char *target = getenv("FASTWSGI_FUZZ_TARGET");
    char name[64];
    PyConfig config;
    PyStatus status;
    PyObject *module;
    (void)argc, (void)argv;
    if (python == NULL || target == NULL || strlen(target) > 32)
        fail("go on without FASTWSGI_FUZZ_PYTHON and FASTWSGI_FUZZ_TARGET: run python -m tests.fuzz.run");
    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0;
    config.use_hash_seed = 1; /* an input does the same each time */
    config.hash_seed = 1;
    status = PyConfig_SetBytesString(&config, &config.program_name, python);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
    PyConfig_Clear(&config);
    snprintf(name, sizeof name, "tests.fuzz.%s", target);
    module = PyImport_ImportModule(name);
    check = module == NULL ? NULL : PyObject_GetAttrString(module, "check");
    if (check == NULL)
        fail("import the target");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    PyObject *result = PyObject_CallFunction(check, "y#", (const char *)data, (Py_ssize_t)size);
    if (result == NULL) {
        PyErr_Print();
        fflush(stdout);
        abort();
    }
    Py_DECREF(result);
    return 0;
}
