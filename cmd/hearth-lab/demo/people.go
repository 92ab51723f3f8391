package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hearthline/hearthline/cmd/hearth-lab/person"
)

// The home of the story and who lives in it. Numbers and addresses are from ranges kept for fiction.
const (
	tenant      = "demo"
	homeID      = "home-maple"
	hubID       = "hub-maple"
	customerID  = "cust-mei"
	callerPhone = "+1 202 555 0143"
)

// resident is one customer with one home and one device.
type resident struct {
	customer, name, phone, email, language string
	home, homeName, region, isp            string
	device, deviceName                     string
	model, firmware, hardware              string
}

var mainResident = resident{
	customer: customerID, name: "Mei Lin", phone: callerPhone, email: "mei.lin@example.com", language: "en",
	home: homeID, homeName: "Maple Street 12", region: "us-east", isp: "Northwind Fibre",
	device: hubID, deviceName: "Hub in the hallway", model: "Hub Pro", firmware: "1.6.2", hardware: "r4",
}

// neighbours live in the replayed homes: names and places drawn from small lists, the same for a seed.
func neighbours(n int, seed uint64) []resident {
	rng := rand.New(rand.NewPCG(seed, 30))
	first := []string{"Ana", "Ben", "Chen", "Dewi", "Elif", "Femi", "Grace", "Hugo", "Ines", "Jun", "Kofi", "Lena", "Marco", "Noor", "Olga", "Priya"}
	last := []string{"Okafor", "Silva", "Wang", "Novak", "Haddad", "Meyer", "Tanaka", "Rossi", "Larsen", "Costa", "Kaur", "Dubois"}
	streets := []string{"Oak Lane", "Mill Road", "Harbour Street", "Hill View", "Station Square", "Garden Row"}
	regions := []string{"us-east", "us-west", "eu-west"}
	isps := []string{"Northwind Fibre", "Contoso Cable", "Fabrikam DSL"}
	all := make([]resident, n)
	for i := range all {
		all[i] = resident{
			customer: fmt.Sprintf("cust-%02d", i+1), language: "en",
			name:  first[rng.IntN(len(first))] + " " + last[rng.IntN(len(last))],
			phone: fmt.Sprintf("+1 202 555 01%02d", i+50), email: fmt.Sprintf("resident%02d@example.com", i+1),
			home: fmt.Sprintf("home-%02d", i+1), homeName: fmt.Sprintf("%s %d", streets[rng.IntN(len(streets))], 1+rng.IntN(80)),
			region: regions[rng.IntN(len(regions))], isp: isps[rng.IntN(len(isps))],
			device: fmt.Sprintf("hub-%02d", i+1), deviceName: "Hub",
		}
	}
	return all
}

// moveIn makes a resident, the home and the device known, and returns the device's enrolment token.
func moveIn(ctx context.Context, admin *person.Person, r resident) (token string, err error) {
	begin := time.Now().AddDate(-1, 0, 0).UTC().Truncate(24 * time.Hour)
	for _, add := range []struct {
		path string
		body any
	}{
		{"/v1/homes", map[string]any{"id": r.home, "name": r.homeName, "region": r.region, "isp": r.isp}},
		{"/v1/customers", map[string]any{"id": r.customer, "name": r.name, "phones": []string{r.phone}, "emails": []string{r.email}, "language": r.language}},
		{"/v1/homes/" + r.home + "/members", map[string]any{"customer": r.customer, "role": "owner", "begin": begin}},
		{"/v1/devices", map[string]any{"id": r.device, "home": r.home, "name": r.deviceName, "model": r.model, "firmware": r.firmware, "hardware": r.hardware}},
	} {
		if err := admin.Post(ctx, add.path, add.body, nil); err != nil {
			return "", fmt.Errorf("move %s in: %w", r.home, err)
		}
	}
	var made struct {
		Token string `json:"token"`
	}
	if err := admin.Post(ctx, "/v1/devices/"+r.device+"/enrolment-token", nil, &made); err != nil {
		return "", fmt.Errorf("enrolment token of %s: %w", r.device, err)
	}
	return made.Token, nil
}
