/* The white-box door: extension gomem._testing.
 *
 * Concurrency: under the GIL.
 * Go: export_test.go.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "gomem._testing",
    .m_size = 0,
};

PyMODINIT_FUNC PyInit__testing(void)
{
    return PyModuleDef_Init(&module_def);
}
