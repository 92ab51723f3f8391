package linux

import (
	"encoding/binary"
	"math"

	"github.com/hearthline/hearthline/firmware-bridge/linux/rtnl"
	"golang.org/x/sys/unix"
)

// wifi reads nl80211 where the kernel has it. A nil wifi has no interfaces.
type wifi struct {
	conn     *rtnl.Conn
	family   uint16
	stations map[int]station // by interface
}

// station is our side of the link to the access point.
type station struct {
	rssi, bitrate, retries, beaconLoss float64 // dBm, Mbit/s, counts; NaN when not told
}

const genlHeaderBytes = 4

// openWifi returns nil when the kernel has no nl80211.
func openWifi() *wifi {
	conn, err := rtnl.OpenGeneric()
	if err != nil {
		return nil
	}
	w := &wifi{conn: conn}
	msg := []byte{unix.CTRL_CMD_GETFAMILY, 1, 0, 0}
	msg = rtnl.AppendAttribute(msg, unix.CTRL_ATTR_FAMILY_NAME, []byte("nl80211\x00"))
	err = conn.Request(unix.GENL_ID_CTRL, 0, msg, func(_ uint16, p []byte) {
		if len(p) < genlHeaderBytes {
			return
		}
		rtnl.Attributes(p[genlHeaderBytes:], func(kind uint16, v []byte) {
			if kind == unix.CTRL_ATTR_FAMILY_ID && len(v) >= 2 {
				w.family = binary.NativeEndian.Uint16(v)
			}
		})
	})
	if err != nil || w.family == 0 {
		conn.Close()
		return nil
	}
	return w
}

func (w *wifi) close() error {
	if w == nil {
		return nil
	}
	return w.conn.Close()
}

// refresh asks for the link of every interface; those without Wi-Fi answer with an error.
func (w *wifi) refresh(links []rtnl.Link) {
	if w == nil {
		return
	}
	w.stations = map[int]station{}
	for _, l := range links {
		err := w.conn.Request(w.family, unix.NLM_F_DUMP, wifiMessage(unix.NL80211_CMD_GET_STATION, l.Index), func(_ uint16, p []byte) {
			if st, ok := parseStation(p); ok {
				w.stations[l.Index] = st
			}
		})
		if err != nil {
			delete(w.stations, l.Index)
		}
	}
}

func (w *wifi) station(index int) (station, bool) {
	if w == nil {
		return station{}, false
	}
	st, ok := w.stations[index]
	return st, ok
}

func wifiMessage(cmd byte, index int) []byte {
	return rtnl.AppendAttribute([]byte{cmd, 0, 0, 0}, unix.NL80211_ATTR_IFINDEX, binary.NativeEndian.AppendUint32(nil, uint32(index)))
}

func parseStation(p []byte) (st station, ok bool) {
	if len(p) < genlHeaderBytes {
		return st, false
	}
	nan := math.NaN()
	st = station{nan, nan, nan, nan}
	rtnl.Attributes(p[genlHeaderBytes:], func(kind uint16, v []byte) {
		if kind != unix.NL80211_ATTR_STA_INFO {
			return
		}
		ok = true
		rtnl.Attributes(v, func(kind uint16, v []byte) {
			switch {
			case kind == unix.NL80211_STA_INFO_SIGNAL && len(v) >= 1:
				st.rssi = float64(int8(v[0]))
			case kind == unix.NL80211_STA_INFO_TX_RETRIES && len(v) >= 4:
				st.retries = float64(binary.NativeEndian.Uint32(v))
			case kind == unix.NL80211_STA_INFO_BEACON_LOSS && len(v) >= 4:
				st.beaconLoss = float64(binary.NativeEndian.Uint32(v))
			case kind == unix.NL80211_STA_INFO_TX_BITRATE:
				rtnl.Attributes(v, func(kind uint16, v []byte) { // in units of 100 kbit/s
					switch {
					case kind == unix.NL80211_RATE_INFO_BITRATE32 && len(v) >= 4:
						st.bitrate = float64(binary.NativeEndian.Uint32(v)) / 10
					case kind == unix.NL80211_RATE_INFO_BITRATE && len(v) >= 2 && math.IsNaN(st.bitrate):
						st.bitrate = float64(binary.NativeEndian.Uint16(v)) / 10
					}
				})
			}
		})
	})
	return st, ok
}

// access is an access point that a scan heard.
type access struct {
	ssid    string
	mhz     int
	dbm     float64
	current bool
}

// scanned returns what the last scan of the interface heard; the kernel keeps it for half a minute.
func (w *wifi) scanned(index int) (list []access, err error) {
	err = w.conn.Request(w.family, unix.NLM_F_DUMP, wifiMessage(unix.NL80211_CMD_GET_SCAN, index), func(_ uint16, p []byte) {
		if a, ok := parseAccess(p); ok {
			list = append(list, a)
		}
	})
	return list, err
}

// scan starts a scan; its result is there a few seconds later.
func (w *wifi) scan(index int) error {
	// One empty SSID asks every access point to answer.
	ssids := rtnl.AppendAttribute(nil, 0, nil)
	msg := rtnl.AppendAttribute(wifiMessage(unix.NL80211_CMD_TRIGGER_SCAN, index), unix.NL80211_ATTR_SCAN_SSIDS|unix.NLA_F_NESTED, ssids)
	return w.conn.Request(w.family, 0, msg, nil)
}

func parseAccess(p []byte) (a access, ok bool) {
	if len(p) < genlHeaderBytes {
		return a, false
	}
	rtnl.Attributes(p[genlHeaderBytes:], func(kind uint16, v []byte) {
		if kind != unix.NL80211_ATTR_BSS {
			return
		}
		ok = true
		rtnl.Attributes(v, func(kind uint16, v []byte) {
			switch {
			case kind == unix.NL80211_BSS_FREQUENCY && len(v) >= 4:
				a.mhz = int(binary.NativeEndian.Uint32(v))
			case kind == unix.NL80211_BSS_SIGNAL_MBM && len(v) >= 4:
				a.dbm = float64(int32(binary.NativeEndian.Uint32(v))) / 100
			case kind == unix.NL80211_BSS_STATUS:
				a.current = true
			case kind == unix.NL80211_BSS_INFORMATION_ELEMENTS:
				a.ssid = ssidOf(v)
			}
		})
	})
	return a, ok
}

// ssidOf finds the network's name among information elements (IEEE 802.11, 9.4.2): id 0.
func ssidOf(b []byte) string {
	for len(b) >= 2 && len(b) >= 2+int(b[1]) {
		if b[0] == 0 {
			return string(b[2 : 2+int(b[1])])
		}
		b = b[2+int(b[1]):]
	}
	return ""
}
