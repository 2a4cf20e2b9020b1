// The table of architectures. A new one is a file under arch/ and a row here.
#include "models/arch/archs.h"
#include "models/model.h"

const hd_arch *const hd_arch_list[] = {
    &hd_arch_llama,       &hd_arch_qwen2,       &hd_arch_qwen3, &hd_arch_deepseek,
    &hd_arch_deepseek_v2, &hd_arch_deepseek_v3, NULL,
};

const hd_arch *hd_arch_by_hf_name(hd_slice name)
{
    for (int i = 0; hd_arch_list[i]; i++)
        for (const char *const *h = hd_arch_list[i]->hf_names; *h; h++)
            if (hd_slice_eq_str(name, *h)) return hd_arch_list[i];
    return NULL;
}

const hd_arch *hd_arch_by_gguf_name(hd_slice name)
{
    for (int i = 0; hd_arch_list[i]; i++)
        if (hd_arch_list[i]->gguf_name && hd_slice_eq_str(name, hd_arch_list[i]->gguf_name))
            return hd_arch_list[i];
    return NULL;
}
