# Becomes a stand-in phone: a root of its own with /data/local/tmp, /system/bin and a cpufreq, in which adbd runs.
# Arguments: an empty folder for the new root, a folder with the phone's commands, its cores' clocks in kHz ("-": no cpufreq),
# the size of its storage. Needs root and a mount namespace of its own; nothing outside changes.
set -e
root=$1 commands=$2 clocks=$3 size=$4
mount --make-rprivate /
mount -t tmpfs phone "$root"
for entry in /*; do
  if [ -L "$entry" ]; then cp -P "$entry" "$root/"
  elif [ "$entry" = /data ] || [ "$entry" = /system ]; then continue
  elif [ -d "$entry" ]; then mkdir "$root$entry"; mount --rbind "$entry" "$root$entry"
  fi
done
mkdir -p "$root/data/local/tmp" "$root/system"
mount -t tmpfs -o "size=$size" storage "$root/data/local/tmp"
ln -s "$commands" "$root/system/bin"
if [ "$clocks" != - ]; then
  cpu=$root/sys/devices/system/cpu
  mount -t tmpfs cpufreq "$cpu"
  number=0
  for clock in $clocks; do
    mkdir -p "$cpu/cpu$number/cpufreq"
    echo "$clock" > "$cpu/cpu$number/cpufreq/cpuinfo_max_freq"
    echo "$clock" > "$cpu/cpu$number/cpufreq/scaling_cur_freq"
    number=$((number + 1))
  done
  echo "0-$((number - 1))" | tee "$cpu/online" "$cpu/possible" > "$cpu/present"
fi
exec chroot "$root" /usr/bin/env PATH="/system/bin:$PATH" ADBD_PORT="$ADBD_PORT" /usr/sbin/adbd
