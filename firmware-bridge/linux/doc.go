// Package linux lets the agent see and change the hub it runs on: interfaces, routes, resolvers, DHCP
// and Wi-Fi as the kernel knows them.
package linux
