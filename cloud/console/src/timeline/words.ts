import { useMemo } from "react";
import type { Diagnosis, Step } from "../api/types";
import { useI18n } from "../i18n";
import { headline } from "../i18n/fill";
import { reading } from "../units";

/**
 * Words for the keys that devices send. A key without a message is shown as it is: a newer device may
 * know more than this console, and hiding what it found would be worse than showing its name.
 */
export function useWords() {
  const { lang, lookup } = useI18n();
  return useMemo(() => {
    const metric = (name: string) => lookup(`metric.${name}`) ?? name;
    const labelled = (name: string, instance?: string) => (instance ? `${metric(name)} · ${instance}` : metric(name));
    const values = (args: Record<string, string>) => {
      // Counters say something here only when they count trouble.
      const telling = Object.entries(args).filter(([name, text]) => !/^[rt]x_/.test(name) || (!name.endsWith("_bytes") && Number(text) > 0));
      const parts = telling.map(([name, text]) => {
        const number = Number(text);
        const shown = text.trim() !== "" && Number.isFinite(number) && /_(ms|ratio|s|mbps|dbm|bytes)$/.test(name) ? reading(name, number, lang) : text;
        return `${lookup(`arg.${name}`) ?? name.replace(/_(ms|ratio|s|mbps|dbm|bytes)$/, "").replaceAll("_", " ")} ${shown}`;
      });
      return parts.join(lang.startsWith("zh") ? "，" : ", ");
    };
    return {
      metric: labelled,
      feature: (name: string, instance?: string) => {
        const text = lookup(`feature.${name}`) ?? lookup(`metric.${name}`) ?? name;
        return instance ? `${text} · ${instance}` : text;
      },
      step: (name: string) => lookup(`step.${name}`) ?? name,
      diagnosis: (kind: string) => headline(lookup(`diagnosis.${kind}`) ?? kind, lang),
      title: (text: string) => headline(text, lang),
      findings: (step: Step) => {
        const code = step.code && (lookup(`finding.${step.code}`) ?? step.code);
        return [code, step.args && values(step.args)].filter(Boolean).join(" · ");
      },
      verdict: ({ code, args }: Diagnosis["verdict"]) => {
        const text = lookup(`verdict.${code}`) ?? lookup(`code.${code}`) ?? code;
        const details = args && values(args);
        return headline(details ? bracket(text, details, lang) : text, lang);
      },
    };
  }, [lang, lookup]);
}

const bracket = (text: string, details: string, lang: string) => (lang.startsWith("zh") ? `${text}（${details}）` : `${text} (${details})`);
