import { createColumnHelper, flexRender, getCoreRowModel, getSortedRowModel, useReactTable, type SortingState } from "@tanstack/react-table";
import { useMemo, useState } from "react";
import { Link } from "react-router";
import type { Ticket } from "../api/types";
import { SegmentTag, TicketTag } from "../components/Status";
import { When } from "../components/When";
import { useI18n } from "../i18n";
import { headline } from "../i18n/fill";
import styles from "./desk.module.css";

const column = createColumnHelper<Ticket>();

/** Tickets as a table that sorts by any column. `compact` leaves out what the first page has no room for. */
export function TicketTable({ tickets, compact }: { tickets: Ticket[]; compact?: boolean }) {
  const { t, lang } = useI18n();
  const [sorting, setSorting] = useState<SortingState>([{ id: "opened", desc: true }]);
  const columns = useMemo(
    () => [
      column.accessor("title_text", {
        header: t("tickets.what"),
        cell: ({ row: { original: ticket } }) => (
          <>
            <Link to={`/customers/${ticket.customer_id}?home=${ticket.home}`}>{headline(ticket.title_text, lang)}</Link>
            {ticket.device_name && <small>{ticket.device_name}</small>}
          </>
        ),
      }),
      column.accessor("customer_name", {
        header: t("tickets.who"),
        cell: ({ row: { original: ticket } }) => (
          <>
            {ticket.customer_name}
            <small>{ticket.home_name}</small>
          </>
        ),
      }),
      column.accessor("segment", { header: t("tickets.where"), cell: ({ getValue }) => <SegmentTag segment={getValue()} />, meta: "hide" }),
      column.accessor("state", { header: t("tickets.state"), cell: ({ row }) => <TicketTag ticket={row.original} />, meta: "hide" }),
      column.accessor("opened", {
        header: t("tickets.since"),
        cell: ({ getValue }) => (
          <span className={styles.nowrap}>
            <When at={getValue()} />
            <small><When at={getValue()} show="clock" /></small>
          </span>
        ),
      }),
    ],
    [t, lang],
  );
  const table = useReactTable({
    data: tickets,
    columns,
    state: { sorting, columnVisibility: { state: !compact } },
    onSortingChange: setSorting,
    getCoreRowModel: getCoreRowModel(),
    getSortedRowModel: getSortedRowModel(),
  });
  return (
    <table className={styles.table}>
      <thead>
        {table.getHeaderGroups().map((group) => (
          <tr key={group.id}>
            {group.headers.map((header) => {
              const sorted = header.column.getIsSorted();
              return (
                <th
                  key={header.id}
                  scope="col"
                  className={header.column.columnDef.meta as string | undefined && styles.hide}
                  aria-sort={sorted === "asc" ? "ascending" : sorted === "desc" ? "descending" : undefined}
                >
                  <button type="button" onClick={header.column.getToggleSortingHandler()}>
                    {flexRender(header.column.columnDef.header, header.getContext())} {sorted === "asc" ? "↑" : sorted === "desc" ? "↓" : ""}
                  </button>
                </th>
              );
            })}
          </tr>
        ))}
      </thead>
      <tbody>
        {table.getRowModel().rows.map((row) => (
          <tr key={row.id}>
            {row.getVisibleCells().map((cell) => (
              <td key={cell.id} className={cell.column.columnDef.meta as string | undefined && styles.hide}>
                {flexRender(cell.column.columnDef.cell, cell.getContext())}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
