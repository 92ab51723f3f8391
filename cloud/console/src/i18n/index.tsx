import { useQueryClient } from "@tanstack/react-query";
import { createContext, use, useEffect, useMemo, useRef, useState, type ReactNode } from "react";
import type { Key, Messages } from "./en";
import { deviceWords } from "./device-words";
import { fill } from "./fill";
import { isLanguage, match, type Language } from "./languages";

export type { Key } from "./en";
export { languages, type Language } from "./languages";
export type Args = Record<string, string | number>;
export type Translate = (key: Key, args?: Args) => string;

interface Value {
  lang: Language;
  setLang: (lang: Language) => void;
  t: Translate;
  /** Like t for a key that came over the wire: undefined when there is no such message. */
  lookup: (key: string, args?: Args) => string | undefined;
}

const Context = createContext<Value | undefined>(undefined);

type Table = Record<string, string>;

// The pages' own messages, and the service's words for metrics, segments, plans and the like.
const sources: Record<Language, () => Promise<[{ default: Messages }, { default: Table }]>> = {
  en: () => Promise.all([import("./en"), import("../../../timeline/messages/en.json")]),
  "zh-CN": () => Promise.all([import("./zh-CN"), import("../../../timeline/messages/zh-CN.json")]),
  "zh-TW": () => Promise.all([import("./zh-TW"), import("../../../timeline/messages/zh-TW.json")]),
};

const loaded = new Map<Language, Promise<Table>>();

function load(lang: Language): Promise<Table> {
  let table = loaded.get(lang);
  if (!table) {
    table = sources[lang]().then(([pages, service]) => ({ ...service.default, ...deviceWords(lang), ...pages.default }));
    loaded.set(lang, table);
  }
  return table;
}

const stored = "hearthline.language";

/** The language chosen on this machine, or the best one of the browser's. */
export function currentLanguage(): Language {
  const chosen = localStorage.getItem(stored);
  return isLanguage(chosen) ? chosen : match(navigator.languages);
}

/** Provides messages. `forced` overrides the choice: an inbox speaks its customer's language. */
export function I18n({ forced, children }: { forced?: Language; children: ReactNode }) {
  const [chosen, setChosen] = useState(currentLanguage);
  const lang = forced ?? chosen;
  const messages = use(load(lang));
  const client = useQueryClient();
  const spoken = useRef(lang);
  useEffect(() => {
    document.documentElement.lang = lang;
    if (spoken.current === lang) return;
    spoken.current = lang;
    void client.invalidateQueries(); // the service words its answers in the language of the page
  }, [client, lang]);
  const value = useMemo<Value>(() => {
    const lookup = (key: string, args?: Args) => {
      const text = messages[key];
      return text === undefined ? undefined : fill(text, args, lang);
    };
    return {
      lang,
      setLang: (next) => {
        localStorage.setItem(stored, next);
        setChosen(next);
      },
      lookup,
      t: (key, args) => lookup(key, args) ?? key,
    };
  }, [lang, messages]);
  return <Context value={value}>{children}</Context>;
}

export function useI18n(): Value {
  const value = use(Context);
  if (!value) throw new Error("useI18n outside of I18n");
  return value;
}
