/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Completion of shells: verbs and options from the table of verbs and its help texts, so that they
 * cannot disagree with what the program takes; jobs from the cluster.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "client/cli/cmd.h"
#include "client/cli/session.h"
#include "client/cli/verbs.h"

const char cmd_completion_help[] = "  mlq completion bash >/etc/bash_completion.d/mlq\n"
                                   "  mlq completion zsh >\"${fpath[1]}/_mlq\"\n"
                                   "  mlq completion fish >~/.config/fish/completions/mlq.fish\n"
                                   "\n"
                                   "usage: mlq completion bash|zsh|fish\n";

#define COMMON                                                                                     \
    "--home --endpoint --server-key --key --store --json --jsonl --quiet --no-header --help"
#define OPTIONS_MAX 64

struct options {
    struct mlq_str items[OPTIONS_MAX];
    size_t count;
};

/* The "--words" of a help text, each once. */
static void options_of(const char *help, struct options *options)
{
    options->count = 0;
    const char *usage = strstr(help, "usage:"); /* the examples before it run other programs, too */
    for (const char *at = strstr(usage == NULL ? help : usage, "--"); at != NULL;
         at = strstr(at, "--")) {
        size_t len = 2;
        while (islower((unsigned char)at[len]) || (len > 2 && at[len] == '-')) {
            len++;
        }
        struct mlq_str word = {at, len};
        bool known = len == 2;
        for (size_t i = 0; i < options->count; i++) {
            known = known || mlq_str_eq(options->items[i], word);
        }
        if (!known && options->count < OPTIONS_MAX) {
            options->items[options->count++] = word;
        }
        at += len;
    }
}

static void print_options(const struct verbs_verb *verb)
{
    struct options options;
    options_of(verb->help, &options);
    for (size_t i = 0; i < options.count; i++) {
        printf("%.*s ", MLQ_STR_ARG(options.items[i]));
    }
}

static void print_verbs(void)
{
    for (size_t i = 0; i < verbs_count(); i++) {
        printf("%s%s", i == 0 ? "" : " ", verbs_all[i].name);
    }
}

static void print_bash(void)
{
    fputs("# bash completion of mlq\n"
          "_mlq() {\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} options=\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
          "        COMPREPLY=($(compgen -W \"",
          stdout);
    print_verbs();
    fputs("\" -- \"$cur\"))\n"
          "        return\n"
          "    fi\n"
          "    case $verb in\n",
          stdout);
    for (size_t i = 0; i < verbs_count(); i++) {
        printf("    %s) options=\"", verbs_all[i].name);
        print_options(&verbs_all[i]);
        fputs("\" ;;\n", stdout);
    }
    fputs("    esac\n"
          "    case $cur in\n"
          "    -*) COMPREPLY=($(compgen -W \"$options " COMMON "\" -- \"$cur\")) ;;\n"
          "    *)\n"
          "        case $verb in\n"
          "        show|logs|metrics|wait|cancel|checkpoint|retry)\n"
          "            COMPREPLY=($(compgen -W \"last $(mlq ls -q --limit 50 2>/dev/null)\" -- "
          "\"$cur\")) ;;\n"
          "        artifacts) COMPREPLY=($(compgen -f -W \"ls get put last\" -- \"$cur\")) ;;\n"
          "        explain) COMPREPLY=($(compgen -f -W \"$(mlq explain -q)\" -- \"$cur\")) ;;\n"
          "        completion) COMPREPLY=($(compgen -W \"bash zsh fish\" -- \"$cur\")) ;;\n"
          "        *) COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n"
          "        esac ;;\n"
          "    esac\n"
          "}\n"
          "complete -o filenames -F _mlq mlq\n",
          stdout);
}

static void print_zsh(void)
{
    fputs("#compdef mlq\n"
          "# zsh completion of mlq: the one of bash, through zsh's own bridge\n"
          "autoload -U +X bashcompinit && bashcompinit\n",
          stdout);
    print_bash();
}

static void print_fish(void)
{
    fputs("# fish completion of mlq\n"
          "complete -c mlq -f\n",
          stdout);
    for (size_t i = 0; i < verbs_count(); i++) {
        const struct verbs_verb *verb = &verbs_all[i];
        struct options options;
        printf("complete -c mlq -n __fish_use_subcommand -a %s -d '%s'\n", verb->name,
               verb->summary);
        options_of(verb->help, &options);
        for (size_t n = 0; n < options.count; n++) {
            printf("complete -c mlq -n '__fish_seen_subcommand_from %s' -l %.*s\n", verb->name,
                   (int)options.items[n].len - 2, options.items[n].ptr + 2);
        }
    }
    fputs("complete -c mlq -n '__fish_seen_subcommand_from show logs metrics wait cancel checkpoint retry' -a "
          "'last (mlq ls -q --limit 50 2>/dev/null)'\n"
          "complete -c mlq -n '__fish_seen_subcommand_from explain' -a '(mlq explain -q)' -F\n"
          "complete -c mlq -n '__fish_seen_subcommand_from submit artifacts' -F\n",
          stdout);
}

int cmd_completion(int argc, char **argv)
{
    struct session session = {.verb = "completion"};
    int code = session_parse(&session, NULL, argc, argv);
    if (code != CMD_OK) {
        return code;
    }
    const char *shell = session.args.count == 1 ? session.args.operands[0] : "";
    void (*print)(void) = strcmp(shell, "bash") == 0   ? print_bash
                          : strcmp(shell, "zsh") == 0  ? print_zsh
                          : strcmp(shell, "fish") == 0 ? print_fish
                                                       : NULL;
    if (print == NULL) {
        return session_usage(&session, "which shell: bash, zsh or fish?");
    }
    print();
    return session_finish(&session, code);
}
