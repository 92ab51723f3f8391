package home

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/hearthline/hearthline/cmd/hearth-lab/netns"
)

// cable connects the hosts and gives them addresses and routes.
func (k *keeper) cable() error {
	hub, router, lte, isp, wan := k.hosts["hub"], k.hosts["router"], k.hosts["lte"], k.hosts["isp"], k.hosts["wan"]
	const peer = "/proc/self/fd/3"
	steps := []error{
		hub.IP("link set lo up\n"),
		router.IP("link set lo up\n"+
			"link add lan0 type veth peer name eth0 netns "+peer+"\n"+
			"addr add "+GatewayAddr+"/24 dev lan0\nlink set lan0 up\n", hub.Namespace()),
		lte.IP("link set lo up\n"+
			"link add lan0 type veth peer name lte0 netns "+peer+"\n"+
			"addr add "+LTEGatewayAddr+"/24 dev lan0\nlink set lan0 up\n", hub.Namespace()),
		hub.IP("link set eth0 up\nlink set lte0 up\n"),
		isp.IP("link set lo up\n"+
			"link add home0 type veth peer name wan0 netns "+peer+"\n"+
			"addr add 100.64.7.1/30 dev home0\nlink set home0 up\n", router.Namespace()),
		router.IP("addr add 100.64.7.2/30 dev wan0\nlink set wan0 up\nroute add default via 100.64.7.1\n"),
		wan.IP("link set lo up\n"+
			"link add isp0 type veth peer name wan0 netns "+peer+"\n"+
			"addr add 198.51.100.2/30 dev isp0\nlink set isp0 up\n", isp.Namespace()),
		wan.IP("link add lte0 type veth peer name wan0 netns "+peer+"\n"+
			"addr add 198.51.100.6/30 dev lte0\nlink set lte0 up\n"+
			"route add 100.64.7.0/30 via 198.51.100.1 dev isp0\n", lte.Namespace()),
		isp.IP("addr add 198.51.100.1/30 dev wan0\nlink set wan0 up\nroute add default via 198.51.100.2\n"),
		lte.IP("addr add 198.51.100.5/30 dev wan0\nlink set wan0 up\nroute add default via 198.51.100.6\n"),
	}
	if err := first(steps); err != nil {
		return fmt.Errorf("connect hosts: %w", err)
	}
	var publics strings.Builder
	for _, a := range []string{CloudAddr, ProbeAddr, WebAddr, ResolverAddr, AltResolver} {
		fmt.Fprintf(&publics, "addr add %s/32 dev lo\n", a)
	}
	if err := wan.IP(publics.String()); err != nil {
		return fmt.Errorf("address the internet: %w", err)
	}
	for _, h := range []*netns.Host{router, lte, isp, wan} {
		if err := h.Set("net.ipv4.ip_forward", "1"); err != nil {
			return err
		}
	}
	masquerade := "table ip nat {\n chain out {\n  type nat hook postrouting priority srcnat;\n  oifname wan0 masquerade\n }\n}\n"
	return first([]error{router.NFT(masquerade), lte.NFT(masquerade)})
}

// connectCloud makes CloudAddr lead to the machine.
func (k *keeper) connectCloud() error {
	if k.opts.UserNS {
		k.info.CloudListen = "127.0.0.1"
		return k.relayCloud()
	}
	machine, err := k.cableMachine()
	if err != nil && strings.Contains(err.Error(), "Operation not permitted") {
		// Root in a container, which may do everything but change the network it was given.
		k.info.CloudListen, k.info.UserNS = "127.0.0.1", true
		return k.relayCloud()
	}
	if err != nil {
		return err
	}
	k.info.CloudListen = machine
	ports := make([]string, len(k.opts.CloudPorts))
	for i, p := range k.opts.CloudPorts {
		ports[i] = strconv.Itoa(p)
	}
	// UDP is open towards the machine's end of the cable only: a remote session's media finds its way there.
	return k.hosts["wan"].NFT(fmt.Sprintf(`table ip cloud {
 chain in {
  type nat hook prerouting priority dstnat;
  ip daddr %[1]s tcp dport { %[2]s } dnat to %[3]s
  ip daddr %[1]s udp dport { %[2]s } dnat to %[3]s
 }
 chain out {
  type nat hook postrouting priority srcnat;
  oifname host0 masquerade
 }
 chain border {
  type filter hook forward priority filter;
  oifname host0 tcp dport { %[2]s } accept
  oifname host0 meta l4proto udp accept
  oifname host0 ct state established,related accept
  oifname host0 drop
 }
}
`, CloudAddr, strings.Join(ports, ", "), machine))
}

// cableMachine lays a cable between the internet of the home and the machine, whose end is the only
// thing of a home that the machine's own network namespace sees. It returns the address of that end.
func (k *keeper) cableMachine() (string, error) {
	wan := k.hosts["wan"]
	for range 50 {
		n := rand.IntN(1 << 14)
		name := fmt.Sprintf("hl-home%d", n)
		machine, far := fmt.Sprintf("10.213.%d.%d", n>>6, n&63*4+1), fmt.Sprintf("10.213.%d.%d", n>>6, n&63*4+2)
		if taken, err := addressTaken(machine); err != nil || taken {
			continue
		}
		if _, err := net.InterfaceByName(name); err == nil {
			continue
		}
		if err := k.machine("link add "+name+" type veth peer name host0 netns /proc/self/fd/3\n"+
			"addr add "+machine+"/30 dev "+name+"\nlink set "+name+" up\n", wan.Namespace()); err != nil {
			return "", fmt.Errorf("connect the machine: %w", err)
		}
		k.machineLink = name
		return machine, wan.IP("addr add " + far + "/30 dev host0\nlink set host0 up\n")
	}
	return "", fmt.Errorf("no free network in 10.213.0.0/16")
}

// machine runs ip with a batch in the machine's own network namespace, where every ordinary thread is.
func (k *keeper) machine(batch string, peers ...*os.File) error {
	outside, err := netns.New("machine", 0, nil)
	if err != nil {
		return err
	}
	defer outside.Close()
	return outside.IP(batch, peers...)
}

func addressTaken(ip string) (bool, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.Contains(net.ParseIP(ip)) {
			return true, nil
		}
	}
	return false, nil
}

// serve starts DHCP, DNS and the web server.
func (k *keeper) serve() error {
	base := []string{
		"dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=", "--group=",
		"--log-facility=-", "--no-hosts", "--no-resolv", "--bind-interfaces",
	}
	dnsmasq := func(name, host string, args ...string) error {
		return k.startService(name, k.hosts[host], append(base[:len(base):len(base)], args...)...)
	}
	public := []string{
		"--local-ttl=5", "--local=/test/",
		"--address=/" + CloudName + "/" + CloudAddr, "--address=/" + WebName + "/" + WebAddr,
		"--address=/probe.home.test/" + ProbeAddr, "--address=/router.home.test/" + GatewayAddr,
	}
	pool := func(from string) string {
		return fmt.Sprintf("--dhcp-range=%s,%s,255.255.255.0,%d", from, strings.TrimSuffix(from, "100")+"150", leaseSeconds)
	}
	dhcp := []string{"--port=0", "--interface=lan0", "--no-ping", "--dhcp-authoritative", "--dhcp-leasefile=/run/dhcp.leases"}
	return first([]error{
		dnsmasq("isp-dns", "wan", append([]string{"--listen-address=" + ResolverAddr}, public...)...),
		dnsmasq("alt-dns", "wan", append([]string{"--listen-address=" + AltResolver}, public...)...),
		// The router's cache is off, so that what the hub sees is the whole chain at every query.
		dnsmasq("router-dns", "router", "--listen-address="+GatewayAddr, "--server="+ResolverAddr, "--cache-size=0"),
		dnsmasq("router-dhcp", "router", append(dhcp, pool(lanPool), "--dhcp-option=option:router,"+GatewayAddr, "--dhcp-option=option:dns-server,"+GatewayAddr)...),
		dnsmasq("lte-dns", "lte", "--listen-address="+LTEGatewayAddr, "--server="+AltResolver),
		dnsmasq("lte-dhcp", "lte", append(dhcp, pool(ltePool), "--dhcp-option=option:router,"+LTEGatewayAddr, "--dhcp-option=option:dns-server,"+LTEGatewayAddr)...),
		k.serveWeb(),
	})
}

// serveWeb runs the web server at WebAddr. Its socket is opened in the host; serving it needs no
// thread of the host.
func (k *keeper) serveWeb() error {
	var ln net.Listener
	err := k.hosts["wan"].Do(func() (err error) {
		ln, err = net.Listen("tcp4", WebAddr+":80")
		return err
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "a web server on the internet") })
	mux.HandleFunc("GET /generate_204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /bytes", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.URL.Query().Get("n"))
		if err != nil || n < 0 || n > 256<<20 {
			http.Error(w, "n must be 0 to 268435456", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(n))
		for block := make([]byte, 32<<10); n > 0; n -= len(block) {
			if _, err := w.Write(block[:min(n, len(block))]); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("POST /sink", func(w http.ResponseWriter, r *http.Request) {
		n, _ := discard(r.Body)
		fmt.Fprintln(w, n)
	})
	go func() { _ = http.Serve(ln, mux) }()
	return nil
}

func first(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
