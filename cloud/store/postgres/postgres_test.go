package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/postgres"
	"github.com/hearthline/hearthline/cloud/store/postgres/pgtest"
)

type note struct {
	Home  string   `json:"home"`
	ID    int64    `json:"id"`
	Text  string   `json:"text"`
	Words []string `json:"words,omitempty"`
}

var notes = store.NewTable("notes", store.Spec[note]{
	Key:   store.Columns{store.Text("home"), store.Int("id")},
	KeyOf: func(n *note) store.Key { return store.Key{n.Home, n.ID} },
	Indexes: []store.Index[note]{
		{Name: "by_text", On: store.Columns{store.Text("text")}, Of: func(n *note) store.Key { return store.Key{n.Text} }},
		{Name: "by_word", On: store.Columns{store.Text("word")}, Each: func(n *note) (keys []store.Key) {
			for _, w := range n.Words {
				keys = append(keys, store.Key{w})
			}
			return keys
		}},
	},
})

func open(t testing.TB, service, owner string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Options{URL: service, MigrateURL: owner}, notes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func exec(t testing.TB, url string, sql ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, s := range sql {
		if _, err := conn.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// rows counts the rows of every table that a connection can see after setup.
func rows(t *testing.T, url string, setup ...string) map[string]int {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, s := range setup {
		if _, err := conn.Exec(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]int{}
	for _, table := range []string{"notes", "notes_by_word"} {
		var n int
		if err := conn.QueryRow(t.Context(), "select count(*) from hearthline."+table).Scan(&n); err != nil {
			t.Fatal(err)
		}
		got[table] = n
	}
	return got
}

func TestTheDatabaseItselfKeepsTenantsApart(t *testing.T) {
	service, owner := database(t)
	db := open(t, service, owner)
	for _, tenant := range []string{"acme", "other"} {
		err := db.Update(t.Context(), tenant, func(tx store.Tx) error {
			return notes.Put(tx, &note{"h", 1, "secret of " + tenant, []string{"w"}})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		url   string
		setup []string
		want  int
	}{
		"the service role without a tenant":          {service, nil, 0},
		"the service role as acme":                   {service, []string{"set hearth.tenant = 'acme'"}, 1},
		"the service role that turns security off":   {service, []string{"set row_security = on", "set hearth.tenant = ''"}, 0},
		"the owner without a tenant":                 {owner, nil, 0},
		"the owner as other":                         {owner, []string{"set hearth.tenant = 'other'"}, 1},
		"a superuser, which is why Open refuses one": {strings.Replace(server.AdminURL("x"), "/x?", "/"+databaseName(service)+"?", 1), nil, 2},
	} {
		for table, n := range rows(t, c.url, c.setup...) {
			if n != c.want {
				t.Errorf("%s sees %d rows of %s, want %d", name, n, table, c.want)
			}
		}
	}
	// Writing into another tenant fails, whatever the statement says.
	conn, err := pgx.Connect(t.Context(), service)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, sql := range []string{
		"insert into hearthline.notes (tenant, home, id, doc) values ('other', 'x', 1, '{}')",
		"update hearthline.notes set tenant = 'other'",
		"insert into hearthline.notes_by_word (tenant, word, home, id) values ('other', 'x', 'x', 1)",
		"alter table hearthline.notes disable row level security",
		"drop policy tenant on hearthline.notes",
		"set role " + databaseName(service) + "_owner",
		"update hearthline.schema_lock set format = 9",
	} {
		if _, err := conn.Exec(t.Context(), "set hearth.tenant = 'acme'"); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), sql); err == nil {
			t.Errorf("%s: went through", sql)
		}
	}
}

func databaseName(url string) string {
	return url[strings.LastIndex(url, "/")+1 : strings.Index(url, "?")]
}

// freePort is a port of loopback where nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestOpenNamesWhatIsInItsWay(t *testing.T) {
	service, owner := database(t)
	open(t, service, owner).Close()
	wrong := strings.Replace(service, ":test-password@", ":guess@", 1)
	nobody := "postgres://hearth:secret-word@" + freePort(t) + "/hearth?sslmode=disable"
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	bypass, _ := database(t)
	exec(t, server.AdminURL("postgres"), "alter role "+databaseName(bypass)+"_service bypassrls")

	broken := func(sql string) (string, string) {
		s, o := database(t)
		open(t, s, o).Close()
		exec(t, o, sql)
		return s, o
	}
	for name, c := range map[string]struct {
		url, migrate string
		want         error // nil: any
		text         string
	}{
		"nobody listens":             {nobody, "", store.ErrUnavailable, "hearth@127.0.0.1"},
		"a server that says nothing": {"postgres://hearth:secret-word@" + silent.Addr().String() + "/hearth?sslmode=disable&connect_timeout=1", "", store.ErrUnavailable, "hearth@127.0.0.1"},
		"a wrong password":           {wrong, "", nil, "password authentication failed"},
		"no such database":           {strings.Replace(service, "/"+databaseName(service)+"?", "/nowhere?", 1), "", nil, "does not exist"},
		"not a URL":                  {"postgres://%zz", "", store.ErrInvalid, "URL"},
		"a superuser":                {server.AdminURL("postgres"), "", store.ErrInvalid, "superuser"},
		"a role that bypasses":       {bypass, "", store.ErrInvalid, "bypass"},
	} {
		check(t, name, c.url, c.migrate, c.want, c.text)
	}
	for name, c := range map[string]struct {
		sql  string
		want error
		text string
	}{
		"a column is gone":         {"alter table hearthline.notes drop column text cascade", store.ErrSchema, "hearthline.notes: column text"},
		"a column of another type": {"alter table hearthline.notes alter column text type bytea using null", store.ErrSchema, "text"},
		"a table is gone":          {"drop table hearthline.notes_by_word", store.ErrSchema, "hearthline.notes_by_word"},
		"security is off":          {"alter table hearthline.notes disable row level security", store.ErrSchema, "row-level security"},
		"security is not forced":   {"alter table hearthline.notes no force row level security", store.ErrSchema, "row-level security"},
		"a second, open policy":    {"create policy everyone on hearthline.notes using (true)", store.ErrSchema, "row-level security"},
		"a newer format":           {"update hearthline.schema_lock set format = 2", store.ErrSchema, "format 2"},
	} {
		s, o := broken(c.sql)
		check(t, name, s, o, c.want, c.text)
	}
}

func check(t *testing.T, name, url, migrate string, want error, text string) {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Options{URL: url, MigrateURL: migrate, Patience: 300 * time.Millisecond}, notes)
	if err == nil {
		db.Close()
		t.Errorf("%s: opened", name)
		return
	}
	if want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v, want %v and %q", name, err, want, text)
	}
	for _, secret := range []string{"secret-word", "test-password", "guess"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error shows a password: %v", name, err)
		}
	}
}

func TestManyProcessesOpenAnEmptyDatabaseAtOnce(t *testing.T) {
	service, owner := database(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			db, err := postgres.Open(t.Context(), postgres.Options{URL: service, MigrateURL: owner, MaxConns: 2}, notes)
			if err != nil {
				t.Error(err)
				return
			}
			db.Close()
		})
	}
	wg.Wait()
	count(t, open(t, service, owner))
}

func TestAMigrationThatFailsLeavesNothingHalf(t *testing.T) {
	service, owner := database(t)
	db := open(t, service, owner)
	if err := db.Update(t.Context(), "acme", func(tx store.Tx) error { return notes.Put(tx, &note{"h", 1, "text", nil}) }); err != nil {
		t.Fatal(err)
	}
	bad := store.NewTable("notes", store.Spec[note]{
		Key:   notes.Schema().Key,
		KeyOf: func(n *note) store.Key { return store.Key{n.Home, n.ID} },
		Indexes: []store.Index[note]{
			{Name: "by_text", On: store.Columns{store.Text("text")}, Of: func(n *note) store.Key { return store.Key{n.Text} }},
			{Name: "by_nul", On: store.Columns{store.Text("nul")}, Of: func(n *note) store.Key { return store.Key{"\x00"} }},
		},
	})
	if _, err := postgres.Open(t.Context(), postgres.Options{URL: service, MigrateURL: owner}, bad); !errors.Is(err, store.ErrInvalid) {
		t.Fatalf("open with an index that cannot be filled: %v", err)
	}
	conn, err := pgx.Connect(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var columns int
	if err := conn.QueryRow(t.Context(), "select count(*) from information_schema.columns where table_name = 'notes' and column_name like '%nul'").Scan(&columns); err != nil || columns != 0 {
		t.Errorf("%d columns of the failed migration, %v", columns, err)
	}
	if n := count(t, open(t, service, owner)); n != 1 {
		t.Errorf("%d notes, want 1", n)
	}
}

func count(t testing.TB, db store.DB) (n int) {
	t.Helper()
	err := db.View(t.Context(), "acme", func(tx store.Tx) error {
		n = 0
		for _, err := range notes.Scan(tx, store.Range{}) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestBatchesLeaveConnectionsToPeople(t *testing.T) {
	service, owner := database(t)
	db, err := postgres.Open(t.Context(), postgres.Options{URL: service, MigrateURL: owner, MaxConns: 4}, notes)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	entered, release := make(chan struct{}), make(chan struct{})
	work := make([]store.Work, 8)
	for i := range work {
		work[i] = store.Work{Tenant: "acme", Do: func(tx store.Tx) error {
			select {
			case entered <- struct{}{}:
				<-release
			case <-release:
			}
			return notes.Put(tx, &note{fmt.Sprint("h", i), 0, "text", nil})
		}}
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := errors.Join(db.Batch(context.Background(), work)...); err != nil {
				t.Error(err)
			}
		})
	}
	for range 2 {
		<-entered
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for range 100 { // by now every batch has had its turn to take more
		err := db.View(ctx, "acme", func(tx store.Tx) error {
			_, err := notes.Has(tx, "h", int64(0))
			return err
		})
		if err != nil {
			t.Errorf("a look beside four batches: %v", err)
			break
		}
	}
	close(release)
	wg.Wait()
}

func TestManyRowsWrittenTogetherEndAsOneByOne(t *testing.T) {
	service, owner := database(t)
	db := open(t, service, owner)
	const many = 2500 // more than go in one statement
	err := db.Update(t.Context(), "acme", func(tx store.Tx) error {
		var errs []error
		put := func(id int64, words ...string) {
			errs = append(errs, notes.Put(tx, &note{"h", id, "text", words}))
		}
		for i := range int64(many) {
			put(i, "all", fmt.Sprint(i%10))
		}
		put(1, "again")
		put(2, "none")
		put(2)
		errs = append(errs, notes.Delete(tx, "h", int64(3)))
		put(3, "back", "back")
		errs = append(errs, notes.Insert(tx, &note{"h", many, "text", []string{"first"}}))
		put(many, "second")
		return errors.Join(errs...)
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := count(t, db); n != many+1 {
		t.Errorf("%d notes, want %d", n, many+1)
	}
	for word, want := range map[string]int{"all": many - 3, "1": many/10 - 1, "again": 1, "none": 0, "back": 1, "first": 0, "second": 1} {
		n := 0
		err := db.View(t.Context(), "acme", func(tx store.Tx) error {
			n = 0
			for _, err := range notes.Scan(tx, store.Range{Index: "by_word", Prefix: store.Key{word}}) {
				if err != nil {
					return err
				}
				n++
			}
			return nil
		})
		if err != nil || n != want {
			t.Errorf("%d notes with %q, want %d: %v", n, word, want, err)
		}
	}
}

func TestTextThatJSONBCannotHoldIsRefusedByName(t *testing.T) {
	service, owner := database(t)
	db := open(t, service, owner)
	err := db.Update(t.Context(), "acme", func(tx store.Tx) error { return notes.Put(tx, &note{"h", 1, "ok", []string{"ok"}}) })
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(t.Context(), "acme", func(tx store.Tx) error { return notes.Put(tx, &note{"h", 2, "a\x00b", nil}) })
	if !errors.Is(err, store.ErrInvalid) {
		t.Errorf("put: %v", err)
	}
	if n := count(t, db); n != 1 {
		t.Errorf("%d notes, want 1", n)
	}
}

// TestNothingAcknowledgedIsLostWhenTheServerDies kills the server under load, again and again.
func TestNothingAcknowledgedIsLostWhenTheServerDies(t *testing.T) {
	srv, err := pgtest.New()
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	service, owner, err := srv.Database()
	if err != nil {
		t.Fatal(err)
	}
	db, err := postgres.Open(t.Context(), postgres.Options{URL: service, MigrateURL: owner, Patience: 20 * time.Second}, notes)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var (
		stop    atomic.Bool
		wg      sync.WaitGroup
		acked   [4]int64
		unknown atomic.Int64
	)
	for w := range acked {
		wg.Go(func() {
			for n := int64(0); !stop.Load(); n++ {
				insert := func(tx store.Tx) error { return notes.Insert(tx, &note{fmt.Sprint("w", w), n, "text", nil}) }
				err := db.Update(t.Context(), "acme", insert)
				for errors.Is(err, store.ErrUnavailable) { // perhaps committed: Insert tells
					unknown.Add(1)
					err = db.Update(t.Context(), "acme", insert)
				}
				if err != nil && !errors.Is(err, store.ErrExists) {
					t.Error(err)
					return
				}
				acked[w] = n + 1
			}
		})
	}
	for round := range 3 {
		time.Sleep(300 * time.Millisecond)
		end := srv.Kill
		if round == 1 {
			end = srv.Stop
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if err := srv.Start(); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(300 * time.Millisecond)
	stop.Store(true)
	wg.Wait()
	total := 0
	for w, n := range acked {
		total += int(n)
		err := db.View(t.Context(), "acme", func(tx store.Tx) error {
			var have int64
			for v, err := range notes.Scan(tx, store.Range{Prefix: store.Key{fmt.Sprint("w", w)}}) {
				if err != nil {
					return err
				}
				if v.ID != have {
					t.Errorf("writer %d: note %d is missing", w, have)
				}
				have++
			}
			if have != n {
				t.Errorf("writer %d: %d notes, %d were acknowledged", w, have, n)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d transactions through 2 kills and a restart, none lost or doubled; %d of unknown outcome settled by Insert", total, unknown.Load())
	if total < 100 {
		t.Errorf("only %d transactions: too few to lose any", total)
	}
}
