import { Kbd, TextInput } from "@mantine/core";
import { useHotkeys } from "@mantine/hooks";
import { IconSearch } from "@tabler/icons-react";
import { useRef } from "react";
import { Empty, Failure } from "../components/States";
import { useI18n } from "../i18n";
import { Matches } from "./Matches";
import { useFinder } from "./useFinder";
import styles from "./find.module.css";

/** The search field in the bar: the next caller is one key away on every page. */
export function QuickFind() {
  const { t } = useI18n();
  const field = useRef<HTMLInputElement>(null);
  const finder = useFinder();
  useHotkeys([["/", () => field.current?.focus()]]);
  return (
    <search className={styles.quick}>
      <TextInput
        ref={field}
        size="xs"
        aria-label={t("find.title")}
        placeholder={t("find.placeholder")}
        value={finder.text}
        onChange={(e) => finder.change(e.currentTarget.value)}
        onKeyDown={finder.onKeyDown}
        leftSection={<IconSearch size={15} />}
        rightSection={<Kbd size="xs">/</Kbd>}
      />
      {finder.items.length > 0 && (
        <div onClick={finder.done}>
          <Matches items={finder.items} q={finder.q} active={finder.active} id="quick-results" />
        </div>
      )}
      {finder.find.isError ? (
        <div className={styles.results}><Failure error={finder.find.error} retry={() => void finder.find.refetch()} /></div>
      ) : (
        finder.nobody && <div className={styles.results}><Empty compact title={t("find.nobody", { q: finder.q })} /></div>
      )}
    </search>
  );
}
