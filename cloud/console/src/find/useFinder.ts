import { useDebouncedValue } from "@mantine/hooks";
import { useState, type KeyboardEvent } from "react";
import { useNavigate } from "react-router";
import { useFind } from "../api/queries";

/** What the two search fields share: the text, the matches, and arrow keys, Enter and Escape. */
export function useFinder() {
  const [text, setText] = useState("");
  const [q] = useDebouncedValue(text.trim(), 120);
  const [active, setActive] = useState(0);
  const find = useFind(q);
  const navigate = useNavigate();
  const items = q.length >= 2 ? (find.data ?? []) : [];
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.nativeEvent.isComposing) return; // Enter belongs to the input method
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step !== 0) {
      event.preventDefault();
      setActive((i) => Math.max(0, Math.min(items.length - 1, i + step)));
    } else if (event.key === "Enter" && items[active]) {
      void navigate(`/customers/${items[active].customer.id}`);
      setText("");
    } else if (event.key === "Escape") {
      setText("");
    }
  };
  const change = (value: string) => {
    setText(value);
    setActive(0);
  };
  const nobody = q.length >= 2 && find.isSuccess && !find.isPlaceholderData && items.length === 0;
  return { text, change, q, items, nobody, active, onKeyDown, find, done: () => setText("") };
}
