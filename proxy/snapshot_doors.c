#include "proxy/snapshot_doors.h"

#include <stdlib.h>
#include <string.h>

#include "conf/settings.h"

bool snapshot_door_clients(struct door_options *door, const struct prefix_list *clients,
                           struct settings_errors *errors)
{
    if (clients->count == 0)
        return true;
    struct prefix *copy = calloc(clients->count, sizeof *copy);
    if (copy == NULL) {
        settings_error(errors, "configuration", "out of memory");
        return false;
    }
    memcpy(copy, clients->item, clients->count * sizeof *copy);
    door->clients = copy;
    door->client_count = clients->count;
    return true;
}

void snapshot_doors_release(struct door_options doors[DOOR_COUNT])
{
    for (size_t i = 0; i < DOOR_COUNT; i++) {
        free((void *)doors[i].clients);
        doors[i].clients = NULL;
        doors[i].client_count = 0;
    }
}

void snapshot_passthrough(struct door_options *door, const struct settings *settings,
                          const struct policy *policy, struct settings_errors *errors)
{
    const struct port_range *ports;
    door->port = (uint16_t)settings->passthrough_port;
    if (!snapshot_door_clients(door, &settings->passthrough_clients_allow, errors))
        return;
    /* A role may have ports of its own. */
    if (settings->passthrough_listen.count == 0 || settings->passthrough_role[0] != '\0' ||
        policy == NULL)
        return;
    size_t count = policy_ports(policy, true, &ports);
    if (!port_ranges_have(ports, count, door->port))
        settings_error(errors, settings_where(settings, "passthrough.port"),
                       "%u is not in allowed.connect.ports: nothing could pass", door->port);
}
