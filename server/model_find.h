// Looking for a model: below a folder, because archives often carry it one or two levels down,
// beside code; and among the platform's additional sources.
#ifndef HADAL_SERVER_MODEL_FIND_H
#define HADAL_SERVER_MODEL_FIND_H

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// Puts the path of the one model at most three levels below folder into out; leaves it empty when
// the folder itself holds one, is a file, or nothing is found (opening it then tells). HD_E_INVAL
// lists several. "code", hidden names and empty files are not looked at.
hd_status hd_model_find(const char *folder, hd_buf *out, hd_err *err);

// The platform delivers further models beside the first, each into the folder of its channel; a
// setting may name the channel alone. If value is no path that exists but names such a folder, its
// path is put into out and the result is true.
bool hd_model_channel(const char *value, hd_buf *out);

#ifdef __cplusplus
}
#endif

#endif
